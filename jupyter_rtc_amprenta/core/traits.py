"""The variables of `settings.py` as traits, so that a configuration file can say what the environment can."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from traitlets import Bool, Float, HasTraits, Integer, TraitType, Unicode

from .settings import VARIABLES, Settings, read

_TRAITS: dict[type, Any] = {bool: Bool, int: Integer, float: Float, str: Unicode}


def trait(field: str) -> TraitType[Any, Any]:
    """The trait of one setting. It is None where it is not configured: the environment holds, or the default."""
    variable = next(variable for variable in VARIABLES if variable.field == field)
    kind = _TRAITS[type(variable.default)]
    help_text = f"{variable.help} Default: ${variable.name}, else {variable.default!r}."
    return kind(None, allow_none=True, config=True, help=help_text)


def settings_of(configured: HasTraits, fields: Iterable[str]) -> Settings:
    """The settings: what was configured, else the environment, else the defaults.

    Args:
        configured: has a `trait(field)` of that name for each of `fields`.

    Raises:
        ConfigurationError: a value can't be understood.
    """
    values = {field: getattr(configured, field) for field in fields}
    return read(**{field: value for field, value in values.items() if value is not None})
