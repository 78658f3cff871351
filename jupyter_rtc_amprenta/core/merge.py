"""A file that was changed from outside becomes edits on its document; pure.

The edits are made on a fork of the document as it was last saved, so that the fork's update,
applied to the live document, is a three-way merge done by the CRDT. What somebody does meanwhile
survives where the item that he works in survives: so everything here is edited in place, as finely
as can be told, and is made anew only where it can't be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

from pycrdt import Array, Doc, Map, Text

from .cellmatch import Matching, match_cells
from .errors import ContentError
from .nbcontent import Json, normal_notebook, same, well_formed
from .textdiff import longest_increasing
from .ydocedit import edit_cell, edit_map, edit_text, new_cell, reshape

# What YNotebook makes of an empty list of cells.
_EMPTY_CELL: Json = {
    "cell_type": "code",
    "execution_count": None,
    "metadata": {"trusted": True},
    "outputs": [],
    "source": "",
}


def merge_update(base: bytes, content: str | dict[str, Any], file_type: str) -> bytes | None:
    """The update that turns the document whose state is `base` into `content`.

    Args:
        base: Yjs update (v1) with the full state of the document as it was last saved.
        content: what the file holds now: a notebook as nbformat's JSON (as the contents manager
            gives it), or text (as jupyter_server_ydoc's FileLoader gives it, ends of line as in
            the document).
        file_type: "notebook", or anything else, which is text.

    Returns:
        An update for the live document, which has gone on since `base`; None if nothing differs.

    Raises:
        ContentError: `content` is not of the form of the file type.
        ValueError: `base` is no Yjs update.
    """
    edit = _notebook_edit(content) if file_type == "notebook" else _text_edit(content)
    fork: Doc[Any] = Doc()
    fork.apply_update(base)
    updates: list[bytes] = []
    subscription = fork.observe(lambda event: updates.append(event.update))
    try:
        with fork.transaction():
            edit(fork)
    finally:
        fork.unobserve(subscription)  # a subscription keeps its document alive for ever
    return updates[0] if updates else None


def _text_edit(content: Any) -> Callable[[Doc[Any]], None]:
    if not isinstance(content, str):
        raise ContentError(f"The content of a text file is no text but {type(content).__name__}")
    new = well_formed(content)
    return lambda fork: edit_text(fork.get("source", type=Text), new)


def _notebook_edit(content: Any) -> Callable[[Doc[Any]], None]:
    try:
        new = normal_notebook(content)
    except RecursionError:
        raise ContentError("The notebook holds a value that is nested too deeply") from None
    return lambda fork: _edit_notebook(fork.get("meta", type=Map), fork.get("cells", type=Array), new)


def _edit_notebook(ymeta: Map[Any], ycells: Array[Any], new: Json) -> None:
    old = normal_notebook({**ymeta.to_py(), "cells": ycells.to_py()})
    for key in ("nbformat", "nbformat_minor"):
        if ymeta.get(key) != new[key]:
            ymeta[key] = new[key]
    if "metadata" not in ymeta or not same(old["metadata"], new["metadata"]):
        edit_map(ymeta, "metadata", old["metadata"], new["metadata"])
    _edit_cells(ycells, old["cells"], new["cells"] or _no_cells(old["cells"]))


def _no_cells(old: list[Json]) -> list[Json]:
    """What a document holds for a file without cells: nothing, or one empty cell."""
    parts = ("cell_type", "source", "outputs")
    is_empty = len(old) == 1 and all(old[0].get(part) == _EMPTY_CELL[part] for part in parts)
    return old if is_empty or not old else [_EMPTY_CELL]


def _edit_cells(ycells: Array[Any], old: list[Json], new: list[Json]) -> None:
    matching = match_cells(old, new)
    trusted = [
        cell if i is None else _trusted_as(old[i], cell) for i, cell in zip(matching, new, strict=True)
    ]
    named = _with_ids(old, trusted, matching)
    # Yjs can't move: of cells that changed places as few as possible are made anew.
    matched = [j for j, i in enumerate(matching) if i is not None]
    kept = {matched[k] for k in longest_increasing([matching[j] for j in matched])}
    reshape(
        ycells,
        range(len(old)),
        [i if j in kept else None for j, i in enumerate(matching)],
        make=lambda j: new_cell(named[j]),
        edit=lambda ycell, i, j: edit_cell(ycell, old[i], named[j]),
    )


def _trusted_as(old: Json, new: Json) -> Json:
    """The new cell with the old one's trust, where the file brings no output that could be mistrusted.

    The mark is in no file. The contents manager puts it on every code cell according to the whole
    file's signature: taken over, a change to one cell would hide everybody's outputs in all cells.
    """
    if new["cell_type"] != "code" or not same(old.get("outputs"), new["outputs"]):
        return new
    metadata = {key: value for key, value in new["metadata"].items() if key != "trusted"}
    if "trusted" in old["metadata"]:
        metadata["trusted"] = old["metadata"]["trusted"]
    return {**new, "metadata": metadata}


def _with_ids(old: Sequence[Json], new: Sequence[Json], matching: Matching) -> list[Json]:
    """The new cells with the ids that the file gives them, else those they have, else fresh ones.

    An id that the file gives to several cells goes to one that has it already, or else the first.
    """
    known = [None if i is None else old[i].get("id") for i in matching]
    owner: dict[str, int] = {}
    for j, cell in enumerate(new):
        claimed = cell.get("id")
        if claimed and (claimed not in owner or known[j] == claimed != known[owner[claimed]]):
            owner[claimed] = j
    named = []
    for j, cell in enumerate(new):
        if owner.get(cell.get("id", "")) != j:
            cell = {key: value for key, value in cell.items() if key != "id"}
            if known[j] and known[j] not in owner:
                cell["id"] = known[j]
            elif known[j] or matching[j] is None:
                cell["id"] = str(uuid4())
        named.append(cell)
    return named
