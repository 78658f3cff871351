"""Adding to a traitlets configuration without overwriting what stands there.

A value of `c.Section.name` that nobody set is a `LazyConfigValue`, which collects what is to be added to the
trait's default; one that was set is a plain list, set or dictionary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from inspect import isawaitable
from typing import Any

from traitlets.config import Config, LazyConfigValue


def is_set(section: Config, name: str) -> bool:
    """Whether the configuration sets this value, rather than adding to its default."""
    return name in section and not isinstance(section[name], LazyConfigValue)


def listed(section: Config, name: str) -> list[Any]:
    """What a list holds so far, its default left out."""
    value = section[name]
    return list(value.to_dict().get("extend", []) if isinstance(value, LazyConfigValue) else value)


def add_to_list(section: Config, name: str, items: Iterable[Any]) -> None:
    """Add items at the end."""
    if is_set(section, name):
        section[name] = [*section[name], *items]
    else:
        section[name].extend(items)


def add_to_set(section: Config, name: str, items: Iterable[Any]) -> None:
    """Add items."""
    if is_set(section, name):
        section[name] = {*section[name], *items}
    else:
        section[name].update(set(items))


def add_to_dict(section: Config, name: str, items: dict[str, Any]) -> None:
    """Add items; one whose key is there already stays as it is."""
    value = section[name]
    if is_set(section, name):
        section[name] = items | value
    else:
        value.update(items | (value.to_dict().get("update") or {}))


def add_to_scopes(section: Config, name: str, scopes: list[str], default: list[str]) -> None:
    """Add to a list that may also be a function of the spawner.

    Such a trait can't be extended lazily: where it is not set, it becomes `default` and `scopes`.
    """
    theirs = section[name] if is_set(section, name) else default
    section[name] = _more(theirs, scopes) if callable(theirs) else _without_doubles([*theirs, *scopes])


def _more(theirs: Callable[[Any], Any], scopes: list[str]) -> Callable[[Any], Any]:
    async def more(spawner: Any) -> list[str]:
        found = theirs(spawner)
        return _without_doubles([*(await found if isawaitable(found) else found), *scopes])

    return more


def _without_doubles(scopes: list[str]) -> list[str]:
    return list(dict.fromkeys(scopes))
