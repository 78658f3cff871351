"""Where somebody is, and what they edited, in words."""

from __future__ import annotations

from typing import Any

import pytest
from jupyter_ydoc import YNotebook, YUnicode
from pycrdt import Assoc

from jupyter_rtc_amprenta.places import Places


def notebook(cells: int) -> tuple[YNotebook, Places]:
    document = YNotebook()
    cell = {"cell_type": "code", "source": "ü", "metadata": {}, "outputs": [], "execution_count": None}
    document.set(
        {"cells": [cell | {"id": str(n)} for n in range(cells)], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    )
    places = Places(document)
    document.observe(places.edited)
    return document, places


def cursor_in(document: YNotebook, cell: int) -> dict[str, Any]:
    """An awareness state as JupyterLab tells it: the text that the cursor is in, and the element beside it."""
    text = document.ycells[cell]["source"].sticky_index(0, Assoc.BEFORE).to_json()["type"]
    return {"cursors": [{"head": {"type": text, "item": {"client": 1, "clock": 1}, "assoc": 0}}]}


def test_edited_cells_are_named_from_one_and_each_once() -> None:
    document, places = notebook(9)
    document.ycells[2]["source"].insert(0, "a")
    document.ycells[2]["source"].insert(0, "b")
    assert places.words(places.take_edited()) == "cell 3"
    places.give_back({2})
    document.ycells[0]["source"].insert(0, "a")
    document.ycells[8]["execution_count"] = 4
    assert places.words(places.take_edited()) == "cells 1, 3 and 9"


def test_many_cells_are_a_number() -> None:
    document, places = notebook(9)
    for number in range(6):
        document.ycells[number]["source"].insert(0, "a")
    assert places.words(places.take_edited()) == "6 cells"


def test_a_new_cell_counts_as_an_edit_and_metadata_of_the_notebook_do_not() -> None:
    document, places = notebook(2)
    document._ymeta["metadata"]["kernelspec"] = {"name": "x"}
    assert places.words(places.take_edited()) is None
    document.append_cell(dict(document.get()["cells"][0]))
    assert places.words(places.take_edited()) == "cell 3"


def test_edits_are_told_once_a_minute() -> None:
    document, places = notebook(2)
    document.ycells[0]["source"].insert(0, "a")
    assert places.take_edited() == {0}
    document.ycells[1]["source"].insert(0, "a")
    assert places.take_edited() == set()
    places.give_back({0})
    assert places.take_edited() == {0, 1}, "what could not be told is told at once"


def test_a_line_of_a_text_is_counted_in_characters_of_any_width() -> None:
    document = YUnicode()
    document.set("äöü\nzwei\ndrei\n")
    places = Places(document)
    document.observe(places.edited)
    document._ysource.insert(len("äöü\nzwei\n".encode()), "x")
    assert places.words(places.take_edited()) == "line 3"


def test_a_cursor_is_in_the_cell_whose_text_it_names() -> None:
    document, places = notebook(3)
    assert places.where(cursor_in(document, 1)) == "cell 2"
    assert places.where(cursor_in(document, 2)) == "cell 3"


@pytest.mark.parametrize(
    "state",
    [
        None,
        {},
        {"cursors": None},
        {"cursors": []},
        {"cursors": ["x"]},
        {"cursors": [{"head": {"type": {"client": 5, "clock": "x"}}}]},
        {"cursors": [{"head": {"tname": "source"}}]},
    ],
    ids=["nobody", "nothing", "null", "none", "text", "unknown", "root"],
)
def test_whatever_a_browser_says_is_no_trouble(state: Any) -> None:
    assert notebook(1)[1].where(state) is None
