"""What a server says of a document of its own, to its own browsers alone (rule 10)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jupyter_ydoc import YNotebook
from jupyter_ydoc import ydocs as YDOCS
from jupyter_ydoc.ybasedoc import YBaseDoc

from .core.nbcontent import told_apart


def per_server(base: type[YBaseDoc]) -> type[YBaseDoc]:
    """The document class whose server-written keys of the map `state` obey rule 10, with one version for all types."""
    ours = _LinkedNotebook if issubclass(base, YNotebook) else _PerServerState
    return type(f"Linked{base.__name__}", (ours, base), {})


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


class _LinkedNotebook(_PerServerState):
    """A notebook that is read without an edit where its user may only read (rule 7)."""

    def get(self, deduplicate: bool = True) -> Any:
        """The content. Upstream gives cells that share an id new ones, in the document: each server others."""
        if deduplicate and not self.may_write():
            return told_apart(super().get(deduplicate=False))  # type: ignore[call-arg]
        return super().get(deduplicate)  # type: ignore[call-arg]

    async def aget(self, deduplicate: bool = True) -> Any:
        """The same; where it makes no edit, in one go."""
        if self.may_write():
            return await super().aget(deduplicate)  # type: ignore[call-arg]
        return self.get(deduplicate)
