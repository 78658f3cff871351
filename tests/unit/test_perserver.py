"""What a server's own view of a document does to it: nothing that its user may not do."""

from __future__ import annotations

from typing import Any

import pytest
from jupyter_ydoc import YNotebook
from pycrdt import Doc

from jupyter_rtc_amprenta.core.nbcontent import told_apart
from jupyter_rtc_amprenta.perserver import per_server


def cell(name: str, source: str) -> dict[str, Any]:
    return {"cell_type": "raw", "id": name, "source": source, "metadata": {}}


def notebook(*cells: dict[str, Any]) -> dict[str, Any]:
    return {"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def moved_by_two() -> Doc:
    """Both have moved the cell "a" while one of them typed into it."""
    document = YNotebook()
    for one in (cell("a", "typed"), cell("b", ""), cell("a", "")):
        document.ycells.append(document.create_ycell(one))
    return document.ydoc


@pytest.mark.parametrize("may_write", [False, True])
def test_only_who_may_write_gives_cells_new_ids(may_write: bool) -> None:
    doc = moved_by_two()
    document: Any = per_server(YNotebook)(doc)
    document.may_write = lambda: may_write
    edits: list[bytes] = []
    subscription = doc.observe(lambda event: edits.append(event.update))
    if may_write:
        with pytest.warns(UserWarning, match="Non-unique cell ID"):
            content = document.get()
    else:
        content = document.get()
    doc.unobserve(subscription)
    assert [one["source"] for one in content["cells"]] == ["typed", "", ""]
    assert len({one["id"] for one in content["cells"]}) == 3
    assert bool(edits) is may_write


def test_equal_cells_are_shown_once_and_ids_stay_within_their_bounds() -> None:
    long = "x" * 64
    cells = [cell(long, "1"), cell(long, "1"), cell(long, "2"), cell(long, "3"), {"cell_type": "raw", "source": ""}]
    shown = told_apart(notebook(*cells))["cells"]
    assert [one["source"] for one in shown] == ["1", "2", "3", ""]
    ids = [one["id"] for one in shown[:3]]
    assert ids == [long, "x" * 56 + "-2", "x" * 56 + "-3"]
    shown = told_apart(notebook(cell("a", ""), cell("a", "2"), cell("a-2", ""), cell(1, "1"), cell(1, "2")))["cells"]  # type: ignore[arg-type]
    assert [one["id"] for one in shown] == ["a", "a-3", "a-2", 1, "1-2"]
    assert told_apart(notebook(cell("a", ""), cell("b", ""))) == notebook(cell("a", ""), cell("b", ""))
