"""Where in a document the owner of the server is, and where they have edited, in words for people: `cell 3`."""

from __future__ import annotations

import math
import time
from collections.abc import Set
from typing import Any

from jupyter_ydoc import YNotebook
from jupyter_ydoc.ybasedoc import YBaseDoc
from pycrdt import Assoc, Text

# More of them at once are a number.
_MOST_NAMED = 5
# Who types edits all the time: it is told so often at most.
_EDITS_SECONDS = 60.0


class Places:
    """Of one document.

    Args:
        document: the room's, as jupyter_ydoc sees it.
    """

    def __init__(self, document: YBaseDoc) -> None:
        self._document = document
        self._is_notebook = isinstance(document, YNotebook)
        # Cells by their number from 0, or offsets in a text's bytes.
        self._edited: set[int] = set()
        self._told_at = -math.inf
        self._head: Any = None
        self._cell: int | None = None

    def edited(self, target: str, event: Any) -> None:
        """The owner has made this change. Called from an observer: the document is not read here."""
        if self._is_notebook:
            if target == "cells":
                self._edited.update(_cell_of(one) for one in event)
        else:
            self._edited = {_offset(event)}

    def take_edited(self) -> set[int]:
        """What was edited and is to be told now, for `words`."""
        if not self._edited or time.monotonic() - self._told_at < _EDITS_SECONDS:
            return set()
        self._told_at = time.monotonic()
        taken, self._edited = self._edited, set()
        return taken

    def give_back(self, edited: set[int]) -> None:
        """What was taken could not be told to anybody."""
        if edited:
            self._edited |= edited
            self._told_at = -math.inf

    def words(self, edited: Set[int]) -> str | None:
        """Such as `cells 2 and 5`, or `line 12`; None: nowhere."""
        if not edited:
            return None
        if not self._is_notebook:
            return f"line {self._line(max(edited))}"
        numbers = [str(cell + 1) for cell in sorted(edited)]
        if len(numbers) == 1:
            return f"cell {numbers[0]}"
        if len(numbers) > _MOST_NAMED:
            return f"{len(numbers)} cells"
        return f"cells {', '.join(numbers[:-1])} and {numbers[-1]}"

    def where(self, state: dict[str, Any] | None) -> str | None:
        """Where an awareness state's cursor is; None where that is not known: in texts, and outside of cells."""
        if not self._is_notebook or state is None:
            return None
        head = _head_of(state)
        if head != self._head:
            self._head, self._cell = head, None if head is None else self._cell_with(head)
        return None if self._cell is None else f"cell {self._cell + 1}"

    def _cell_with(self, source: Any) -> int | None:
        """The number of the cell whose source is this element."""
        for number, cell in enumerate(self._document.ycells):
            text = cell["source"]
            # Before the first character: an index that names the text itself, whatever it holds.
            if isinstance(text, Text) and text.sticky_index(0, Assoc.BEFORE).to_json().get("type") == source:
                return number
        return None

    def _line(self, offset: int) -> int:
        return str(self._document.get()).encode()[:offset].count(b"\n") + 1


def _cell_of(event: Any) -> int:
    """The number of the cell that an event of the notebook's cells is about."""
    return event.path[0] if event.path else _offset(event)


def _offset(event: Any) -> int:
    first = next(iter(getattr(event, "delta", None) or []), {})
    return first.get("retain", 0)


def _head_of(state: dict[str, Any]) -> Any:
    """The text that the first cursor of a state is in, as Yjs names it."""
    cursors = state.get("cursors")
    cursor = cursors[0] if isinstance(cursors, list) and cursors else None
    head = cursor.get("head") if isinstance(cursor, dict) else None
    return head.get("type") if isinstance(head, dict) else None
