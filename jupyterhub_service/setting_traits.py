"""The variables of `core.settings` as traits, made from their one table, so that neither can drift."""

from __future__ import annotations

from typing import Any

from traitlets import Bool, Float, HasTraits, Integer, TraitType, Unicode

from jupyter_rtc_amprenta.core.settings import VARIABLES, Variable

# What only a user's server reads.
_NOT_OURS = {
    "collaboration_yjs_url",
    "rtc_api_url",
    "api_url",
    "local_store",
    "shared_folder",
    "open_timeout",
}
_TRAITS: dict[type, type[TraitType]] = {str: Unicode, int: Integer, float: Float, bool: Bool}

SERVICE_VARIABLES = tuple(variable for variable in VARIABLES if variable.field not in _NOT_OURS)


def _trait(variable: Variable) -> TraitType[Any, Any]:
    kind = _TRAITS[type(variable.default)]
    text = f"{variable.help} Default: ${variable.name}, else {variable.default!r}."
    # None is "not set here": then the environment counts.
    return kind(None, allow_none=True, help=text).tag(config=True)


class _SettingTraits:
    def setting_overrides(self: Any) -> dict[str, Any]:
        """What is set here rather than in the environment, by field of `Settings`."""
        fields = (variable.field for variable in SERVICE_VARIABLES)
        return {field: value for field in fields if (value := getattr(self, field)) is not None}


SettingTraits: type[Any] = type(HasTraits)(
    "SettingTraits",
    (_SettingTraits, HasTraits),
    {variable.field: _trait(variable) for variable in SERVICE_VARIABLES},
)
