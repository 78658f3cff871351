"""What a server says of a document of its own, to its own browsers alone (rule 10)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jupyter_ydoc import ydocs as YDOCS
from jupyter_ydoc.ybasedoc import YBaseDoc


def per_server(base: type[YBaseDoc]) -> type[YBaseDoc]:
    """The document class whose server-written keys of the map `state` obey rule 10, with one version for all types."""
    return type(f"Linked{base.__name__}", (_PerServerState, base), {})


class _PerServerState(YBaseDoc):
    """`path` and `hash` go to the side document; `dirty` is written when it is true, and by who may write."""

    keep: Callable[[str, Any], None]
    may_write: Callable[[], bool]

    @property
    def version(self) -> str:
        """All types' versions. Upstream keeps one version for each session, that of the document opened last: after a
        text was opened, a notebook's tab that came back to a restarted server would be asked to reload."""
        return " ".join(sorted(f"{name}={kind().version}" for name, kind in YDOCS.items()))

    @property
    def path(self) -> str | None:
        return super().path

    @path.setter
    def path(self, value: str) -> None:
        self.keep("path", value)

    @property
    def hash(self) -> str | None:
        return super().hash

    @hash.setter
    def hash(self, value: str) -> None:
        self.keep("hash", value)

    @property
    def dirty(self) -> bool | None:
        return super().dirty

    @dirty.setter
    def dirty(self, value: bool) -> None:
        if self.dirty and not value and self.may_write():
            self._ystate["dirty"] = False
