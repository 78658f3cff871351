"""A file's change becomes edits on its document: `core/merge.py` and what it is made of."""

from __future__ import annotations

import copy
import json
import os
import time
from pathlib import Path
from random import Random
from typing import Any

import nbformat
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jupyter_ydoc import YNotebook, YUnicode
from pycrdt import Array, Doc, Map, Text

from jupyter_rtc_amprenta.core.errors import ContentError
from jupyter_rtc_amprenta.core.merge import merge_update
from jupyter_rtc_amprenta.core.nbcontent import normal_notebook
from jupyter_rtc_amprenta.core.textdiff import changes, longest_increasing, text_edits

Json = dict[str, Any]

METADATA = {
    "kernelspec": {"name": "python3", "display_name": "Python 3"},
    "language_info": {"name": "python"},
}


def code(source: str, cell_id: str | None = None, **keys: Any) -> Json:
    cell = {"cell_type": "code", "source": source, "metadata": {}, "outputs": [], "execution_count": None}
    return {**cell, **({"id": cell_id} if cell_id else {}), **keys}


def markdown(source: str, cell_id: str | None = None, **keys: Any) -> Json:
    cell = {"cell_type": "markdown", "source": source, "metadata": {}}
    return {**cell, **({"id": cell_id} if cell_id else {}), **keys}


def stream(text: str, name: str = "stdout") -> Json:
    return {"output_type": "stream", "name": name, "text": text}


def shown(text: str) -> Json:
    return {"output_type": "display_data", "data": {"text/plain": text}, "metadata": {}}


def notebook(*cells: Json, minor: int = 5, metadata: Json = METADATA) -> Json:
    return {
        "cells": copy.deepcopy(list(cells)),
        "metadata": copy.deepcopy(metadata),
        "nbformat": 4,
        "nbformat_minor": minor,
    }


def abc(**keys: Any) -> Json:
    return notebook(code("a = 1", "a"), code("b = 2", "b"), code("c = 3", "c"), **keys)


def doc_of(content: str | Json) -> Doc[Any]:
    ydoc = YUnicode() if isinstance(content, str) else YNotebook()
    ydoc.set(content)
    return ydoc.ydoc


def copy_of(doc: Doc[Any]) -> Doc[Any]:
    twin: Doc[Any] = Doc()
    twin.apply_update(doc.get_update())
    return twin


def type_of(content: str | Json) -> str:
    return "file" if isinstance(content, str) else "notebook"


def merge_into(live: Doc[Any], base: Doc[Any], content: str | Json) -> None:
    update = merge_update(base.get_update(), content, type_of(content))
    assert update is not None
    live.apply_update(update)


def merged(base: Doc[Any], content: str | Json) -> Doc[Any]:
    """The document after the merge, which must be complete: a second one finds nothing to do."""
    live = copy_of(base)
    merge_into(live, base, content)
    assert merge_update(live.get_update(), content, type_of(content)) is None
    return live


def read(doc: Doc[Any]) -> Json:
    return YNotebook(doc).get()


def cells_of(doc: Doc[Any]) -> Array[Any]:
    return doc.get("cells", type=Array)


def sources(doc: Doc[Any]) -> list[str]:
    return [str(ycell["source"]) for ycell in cells_of(doc)]


def text_of(doc: Doc[Any]) -> Text:
    return doc.get("source", type=Text)


def insert_into(ytext: Text, before: str, text: str) -> None:
    """Type text before the first occurrence of another."""
    ytext.insert(len(str(ytext).split(before)[0].encode()), text)


class Touched:
    """What an update changed in a document, as an observer of the cells sees it."""

    def __init__(self, doc: Doc[Any]) -> None:
        self.paths: list[list[Any]] = []
        self.subscription = cells_of(doc).observe_deep(
            lambda events: self.paths.extend(list(event.path) for event in events)
        )


# Texts


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", "one\n"),
        ("one\n", ""),
        ("one\ntwo\nthree\n", "one\n2\nthree\n"),
        ("naïve 😀 text\n", "naïve 😁 text, 漢字\n"),
        ("é", "éé"),
        ("e\u0301 \U0001f468\u200d\U0001f469", "e \U0001f468\u200d\U0001f467"),
        ("漢字かな交じり文。\nもう一行\n", "漢字カナ交じり文!\nもう二行\n"),
        ("a\r\nb\r\n", "a\r\nc\r\n"),
        ("x" * 100, "y" * 100),
    ],
)
def test_a_text_becomes_what_the_file_holds(old: str, new: str) -> None:
    assert YUnicode(merged(doc_of(old), new)).get() == new


def test_an_equal_text_is_no_edit() -> None:
    assert merge_update(doc_of("same 😀\n").get_update(), "same 😀\n", "file") is None
    assert merge_update(Doc().get_update(), "", "file") is None


def test_typing_in_the_changed_line_survives() -> None:
    base = doc_of("first line\ndef area(radius, unit='cm'):\nlast line\n")
    live = copy_of(base)
    insert_into(text_of(live), "unit", "* , ")
    merge_into(live, base, "first line\ndef surface(radius, unit='mm'):\nlast line\n")
    assert str(text_of(live)) == "first line\ndef surface(radius, * , unit='mm'):\nlast line\n"


@pytest.mark.parametrize("attempt", range(6))
def test_typing_at_the_end_of_a_changed_word_stays_behind_it(attempt: int) -> None:
    """Whoever's random client id is the smaller one."""
    base = doc_of("x = 1\ny = old\n")
    live = copy_of(base)
    insert_into(text_of(live), "\ny", "  # 😀")
    text_of(live).insert(len(str(text_of(live)).encode()) - 1, "_name")
    merge_into(live, base, "x = 2\ny = new\n")
    assert str(text_of(live)) == "x = 2  # 😀\ny = new_name\n"


@pytest.mark.parametrize("attempt", range(6))
def test_typing_before_a_changed_word_stays_before_it(attempt: int) -> None:
    base = doc_of("y = old\n")
    live = copy_of(base)
    insert_into(text_of(live), "old", "very_")
    merge_into(live, base, "y = new\n")
    assert str(text_of(live)) == "y = very_new\n"


def test_a_small_change_is_a_small_update() -> None:
    lines = [f"line {number} of the text\n" for number in range(2_000)]
    base = doc_of("".join(lines))
    lines[10], lines[1_990] = "changed\n", "line 1990 of the story\n"
    update = merge_update(base.get_update(), "".join(lines), "file")
    assert update is not None
    assert len(update) < 150


def test_the_history_of_deletions_is_not_sent_again() -> None:
    base = doc_of("x" * 5_000)
    for position in range(2_000):
        del text_of(base)[position]
    assert len(merge_update(base.get_update(), str(text_of(base)) + "!", "file") or b"") < 50


def test_lone_surrogates_become_replacement_characters() -> None:
    """pycrdt panics on them, with an exception that is no Exception."""
    assert YUnicode(merged(doc_of("a"), "a\ud800b")).get() == "a\ufffdb"
    assert YUnicode(merged(doc_of("a"), "\ufeffa\ud83d")).get() == "\ufeffa\ufffd"


@pytest.mark.parametrize("file_type", ["file", "notebook"])
@pytest.mark.parametrize("content", [None, 7, b"bytes", ["lines"]])
def test_content_of_another_type_is_refused(content: Any, file_type: str) -> None:
    with pytest.raises(ContentError):
        merge_update(Doc().get_update(), content, file_type)


def test_text_is_refused_for_a_notebook_and_the_other_way_round() -> None:
    with pytest.raises(ContentError):
        merge_update(Doc().get_update(), "text", "notebook")
    with pytest.raises(ContentError):
        merge_update(Doc().get_update(), notebook(), "file")


def test_a_base_that_is_no_update_is_refused() -> None:
    with pytest.raises(ValueError, match="update"):
        merge_update(b"foo", "text", "file")


def test_a_merge_leaves_no_document_behind() -> None:
    """A subscription that is not dropped keeps its document for ever, past the garbage collector."""
    import gc

    gc.collect()
    before = sum(isinstance(item, Doc) for item in gc.get_objects())
    base = doc_of("a").get_update()
    for _ in range(3):
        merge_update(base, "b", "file")
    gc.collect()
    assert sum(isinstance(item, Doc) for item in gc.get_objects()) <= before


@pytest.mark.parametrize(
    "change",
    ["scattered", "indented", "rewritten", "repeating"],
)
def test_a_large_text_is_fast(change: str) -> None:
    """About 1 MB in 20,000 lines; the bound is loose, quadratic code takes minutes."""
    lines = [
        f"{number * 7919 % 20_011} some words that come again in every line\n" for number in range(20_000)
    ]
    if change == "repeating":
        lines = [f"one of few lines, number {number * number % 97}\n" for number in range(20_000)]
    base = doc_of("".join(lines))
    if change in ("scattered", "repeating"):
        lines[::20] = [line.replace("e", "E", 1) for line in lines[::20]]
    elif change == "indented":
        lines = ["    " + line for line in lines]
    else:
        lines = [f"{'qwerty'[number % 6] * 40} {number}\n" for number in range(20_000)]
    started = time.perf_counter()
    update = merge_update(base.get_update(), "".join(lines), "file")
    assert time.perf_counter() - started < 8
    base.apply_update(update or b"")
    assert str(text_of(base)) == "".join(lines)


# Notebooks: what is equal


def test_an_equal_notebook_is_no_edit() -> None:
    content = notebook(
        markdown("# Title", "t", attachments={"a.png": {"image/png": "AAAA"}, "odd": "x"}),
        code("print(1)", "p", outputs=[stream("1\n"), shown("x")], execution_count=3, metadata={"n": 1.5}),
        {"cell_type": "raw", "source": "raw", "metadata": {"format": "rst"}, "id": "r"},
    )
    assert merge_update(doc_of(content).get_update(), content, "notebook") is None
    assert merge_update(doc_of(content).get_update(), read(doc_of(content)), "notebook") is None


def test_texts_split_into_lines_are_equal_to_whole_ones() -> None:
    content = notebook(
        code("a\nb\n", "a", outputs=[stream("1\n2\n"), shown("x\ny")]),
        markdown("![](a.txt)", "m", attachments={"a.txt": {"text/plain": "1\n2"}}),
    )
    as_file = json.loads(nbformat.writes(nbformat.from_dict(content)))
    assert isinstance(as_file["cells"][0]["source"], list)
    assert merge_update(doc_of(content).get_update(), as_file, "notebook") is None


def test_json_in_outputs_stays_a_list() -> None:
    rows = [{"output_type": "display_data", "metadata": {}, "data": {"application/json": ["a", "b"]}}]
    base = doc_of(notebook(code("a", "a")))
    content = notebook(code("a", "a", outputs=rows))
    assert read(merged(base, content))["cells"][0]["outputs"] == rows


def test_numbers_compare_by_value() -> None:
    """Yjs keeps integers as floats; true floats stay what they are, and `true` is not 1."""
    content = abc(metadata={**METADATA, "n": 1, "f": 1.5, "big": 2**53 + 1, "flag": 1})
    base = doc_of(content)
    content["metadata"]["n"] = 1.0
    assert merge_update(base.get_update(), content, "notebook") is None
    content["metadata"] |= {"f": 2.5, "flag": True, "big": 2**53 + 3}
    metadata = read(merged(base, content))["metadata"]
    assert (metadata["f"], metadata["flag"], metadata["big"]) == (2.5, True, 2**53 + 3)
    assert metadata["flag"] is True


def test_numbers_that_yjs_can_not_hold_break_nothing() -> None:
    """pycrdt panics on integers over 64 bits, and YNotebook.get raises on NaN."""
    odd = {
        "huge": 2**70,
        "nan": float("nan"),
        "infinite": float("-inf"),
        "endless": 10**400,
        "edge": 2**63 - 1,
    }
    doc = merged(doc_of(abc()), abc(metadata={**METADATA, **odd}))
    metadata = read(doc)["metadata"]
    assert metadata["huge"] == 2**70
    assert metadata["nan"] is metadata["infinite"] is metadata["endless"] is None


@pytest.mark.parametrize("metadata", [{}, {"language_info": {"name": ""}}, METADATA])
def test_metadata_that_jupyter_ydoc_fills_in_is_no_edit(metadata: Json) -> None:
    content = abc(metadata=metadata)
    assert merge_update(doc_of(content).get_update(), content, "notebook") is None


def test_keys_that_a_file_leaves_out_mean_their_default() -> None:
    base = doc_of(notebook(code("a", "a"), markdown("m", "m")))
    bare = notebook({"cell_type": "code", "source": "a", "id": "a"}, markdown("m", "m", attachments={}))
    assert merge_update(base.get_update(), bare, "notebook") is None
    assert "outputs" in read(merged(base, notebook(bare["cells"][1], bare["cells"][0])))["cells"][1]


def test_keys_that_a_document_leaves_out_mean_their_default() -> None:
    doc: Doc[Any] = Doc()
    doc.get("meta", type=Map).update({"nbformat": 4, "nbformat_minor": 5, "metadata": Map({})})
    cells_of(doc).append(Map({"cell_type": "code", "source": Text("a"), "id": "a"}))
    assert merge_update(doc.get_update(), notebook(code("a", "a"), metadata={}), "notebook") is None
    changed = notebook(code("a", "a", outputs=[shown("x")], metadata={"k": 1}), metadata={})
    assert read(merged(doc, changed))["cells"][0] | {"execution_count": None} == changed["cells"][0]


def test_a_notebook_without_cells() -> None:
    """jupyter_ydoc makes one empty code cell of it."""
    assert merge_update(doc_of(notebook()).get_update(), notebook(), "notebook") is None
    emptied = merged(doc_of(abc()), notebook())
    assert sources(emptied) == [""]
    filled = merged(emptied, abc())
    assert read(filled) == abc()


def test_the_state_map_is_never_touched() -> None:
    base = doc_of(abc())
    base.get("state", type=Map).update({"dirty": True, "path": "a.ipynb", "hash": "x", "other": 1})
    live = merged(base, notebook(code("new", "n")))
    assert live.get("state", type=Map).to_py() == base.get("state", type=Map).to_py()


def test_a_document_that_was_never_written_is_filled() -> None:
    assert read(merged(Doc(), abc())) == abc()


@pytest.mark.parametrize(
    "content",
    [
        {"worksheets": [], "metadata": {}, "nbformat": 3},
        notebook(code("a")) | {"cells": {}},
        notebook(code("a")) | {"cells": ["a"]},
        notebook(code("a")) | {"metadata": []},
        notebook(code("a")) | {"nbformat": "4"},
        notebook(code("a")) | {"nbformat_minor": float("nan")},
        notebook({"cell_type": "code"}),
        notebook({"source": "a"}),
        notebook(code("a") | {"source": [1]}),
        notebook(code("a", metadata=[])),
        notebook(code("a", outputs={})),
        notebook(code("a", outputs=["x"])),
        notebook(code("a", outputs=[{"output_type": "stream", "text": 1}])),
        notebook(code("a", id=7)),
        notebook(markdown("a", attachments=["x"])),
        notebook(code("a", metadata={"k": {1, 2}})),
    ],
)
def test_what_is_no_notebook_is_refused(content: Json) -> None:
    with pytest.raises(ContentError, match="notebook"):
        merge_update(doc_of(abc()).get_update(), content, "notebook")


def test_a_value_nested_too_deeply_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(5_000):
        deep = [deep]
    with pytest.raises(ContentError, match="deeply"):
        merge_update(doc_of(abc()).get_update(), abc() | {"metadata": {"deep": deep}}, "notebook")


# Notebooks: cells


def test_each_keeps_what_he_did() -> None:
    """The file changes C and gets a D, while somebody types in B and adds a cell."""
    base = doc_of(abc())
    live = copy_of(base)
    insert_into(cells_of(live)[1]["source"], "2", "20 + ")
    YNotebook(live).append_cell(code("live", "l"))
    content = notebook(code("a = 1", "a"), code("b = 2", "b"), code("c = 33", "c"), code("d", "d"))
    merge_into(live, base, content)
    assert sources(live)[:3] == ["a = 1", "b = 20 + 2", "c = 33"]
    assert sorted(sources(live)[3:]) == ["d", "live"]


def test_typing_in_a_changed_cell_survives() -> None:
    base = doc_of(notebook(code("total = first + second\nprint(total)", "a", outputs=[stream("3\n")])))
    live = copy_of(base)
    insert_into(cells_of(live)[0]["source"], "second", "2 * ")
    changed = code("total = first + second\nprint('total', total)", "a", outputs=[stream("total 3\n")])
    merge_into(live, base, notebook(changed))
    assert sources(live) == ["total = first + 2 * second\nprint('total', total)"]
    assert read(live)["cells"][0]["outputs"] == [stream("total 3\n")]


def test_a_deleted_cell_takes_nothing_else_along() -> None:
    base = doc_of(abc())
    live = copy_of(base)
    for ycell in cells_of(live):
        ycell["source"].insert(0, "# ")
    merge_into(live, base, notebook(code("a = 1", "a"), code("c = 3", "c")))
    assert sources(live) == ["# a = 1", "# c = 3"]


def test_a_cell_that_others_deleted_stays_deleted() -> None:
    base = doc_of(abc())
    live = copy_of(base)
    del cells_of(live)[1]
    merge_into(live, base, notebook(code("a = 1", "a"), code("b = 22", "b"), code("c = 33", "c")))
    assert sources(live) == ["a = 1", "c = 33"]


@pytest.mark.parametrize("attempt", range(4))
def test_a_cell_added_below_a_replaced_one_stays_below_its_successor(attempt: int) -> None:
    base = doc_of(abc())
    live = copy_of(base)
    cells_of(live).insert(2, YNotebook(live).create_ycell(code("live", "l")))
    merge_into(live, base, notebook(code("a = 1", "a"), markdown("quite another", "x"), code("c = 3", "c")))
    assert sources(live) == ["a = 1", "quite another", "live", "c = 3"]


@pytest.mark.parametrize("minor", [4, 5])
def test_an_untouched_cell_sees_no_event(minor: int) -> None:
    content = abc(minor=minor)
    base = doc_of(content)
    live = copy_of(base)
    touched = Touched(live)
    content = copy.deepcopy(read(base))
    content["cells"][1]["source"] = "b = 22"
    merge_into(live, base, content)
    assert touched.paths == [[1, "source"]]


def test_without_ids_cells_are_matched_by_content() -> None:
    """Up to nbformat 4.4 the file has none, though the document does."""
    base = doc_of(abc(minor=4))
    ids = [ycell["id"] for ycell in cells_of(base)]
    live = copy_of(base)
    for ycell in cells_of(live):
        ycell["source"].insert(0, "# ")
    changed = [code("new"), code("a = 1"), code("b = 2 + 2"), markdown("# Text"), code("c = 3")]
    merge_into(live, base, notebook(*changed, minor=4))
    assert sources(live) == ["new", "# a = 1", "# b = 2 + 2", "# Text", "# c = 3"]
    assert [ycell["id"] for ycell in cells_of(live)][1:3] == ids[:2]


def test_without_ids_the_likeliest_cell_is_the_one() -> None:
    old = ["import numpy as np", "x = np.linspace(0, 1)\ny = np.sin(x)", "plt.plot(x, y)", "plt.show()"]
    new = [
        "import numpy as np\nimport scipy",
        "print('hello')",
        "x = np.linspace(0, 2)\ny = np.sin(x)",
        "plt.show()",
    ]
    base = doc_of(notebook(*map(code, old), minor=4))
    live = copy_of(base)
    for ycell, mark in zip(cells_of(live), "ABCD", strict=True):
        ycell["source"].insert(0, f"# {mark}\n")
    merge_into(live, base, notebook(*map(code, new), minor=4))
    assert [source[2] for source in sources(live) if source.startswith("# ")] == ["A", "B", "D"]
    assert sources(live)[2] == "# B\n" + new[2]


def test_without_ids_a_filled_cell_is_edited_in_place() -> None:
    base = doc_of(notebook(code("a"), code(""), code("b"), minor=4))
    live = copy_of(base)
    touched = Touched(live)
    merge_into(live, base, notebook(code("a"), code("something"), code("b"), minor=4))
    assert touched.paths == [[1, "source"]]


def test_an_upgrade_to_nbformat_4_5_brings_ids_and_keeps_cells() -> None:
    base = doc_of(abc(minor=4))
    live = copy_of(base)
    cells_of(live)[1]["source"].insert(0, "# ")
    upgraded = notebook(code("a = 1", "x"), code("b = 2", "y"), code("c = 30", "z"))
    merge_into(live, base, upgraded)
    assert sources(live) == ["a = 1", "# b = 2", "c = 30"]
    assert [cell["id"] for cell in read(live)["cells"]] == ["x", "y", "z"]
    assert read(merged(base, upgraded)) == upgraded


def test_a_downgrade_takes_the_ids_out_of_sight() -> None:
    without = notebook(code("a = 1"), code("b = 2"), code("c = 3"), minor=4)
    doc = merged(doc_of(abc()), without)
    assert read(doc) == without
    assert [ycell["id"] for ycell in cells_of(doc)] == ["a", "b", "c"]


def test_ids_that_a_tool_made_anew_are_taken_over() -> None:
    base = doc_of(abc())
    live = copy_of(base)
    cells_of(live)[1]["source"].insert(0, "# ")
    merge_into(live, base, notebook(code("a = 1", "x"), code("b = 2", "y"), code("c = 3", "z")))
    assert sources(live) == ["a = 1", "# b = 2", "c = 3"]
    assert [cell["id"] for cell in read(live)["cells"]] == ["x", "y", "z"]


def test_another_id_and_another_text_is_another_cell() -> None:
    base = doc_of(abc())
    live = copy_of(base)
    touched = Touched(live)
    merge_into(live, base, notebook(code("a = 1", "a"), code("for i in x: pass", "n"), code("c = 3", "c")))
    assert touched.paths == [[]]
    assert read(live)["cells"][1]["id"] == "n"


def test_ids_that_come_twice_in_the_file() -> None:
    """A cell copied in an editor, id and all: both stay, the id with the one that has it."""
    doc = merged(doc_of(abc()), notebook(code("copy of b = 2", "b"), code("a = 1", "a"), code("b = 2", "b")))
    cells = read(doc)["cells"]
    assert [cell["source"] for cell in cells] == ["copy of b = 2", "a = 1", "b = 2"]
    assert [cell["id"] for cell in cells][1:] == ["a", "b"]
    same_twice = notebook(code("a = 1", "a"), code("a = 1", "a"))
    assert [cell["source"] for cell in read(merged(doc_of(abc()), same_twice))["cells"]] == ["a = 1", "a = 1"]


def test_ids_that_come_twice_in_the_document() -> None:
    base = doc_of(abc())
    cells_of(base)[1]["id"] = "a"
    content = notebook(code("a = 1", "a"), code("b = 2", "r"), code("c = 3", "c"))
    live = copy_of(base)
    touched = Touched(live)
    merge_into(live, base, content)
    assert touched.paths == [[1]]
    assert read(live) == content


def test_moved_cells_are_made_anew_and_the_others_are_not() -> None:
    base = doc_of(notebook(*(code(f"cell {name}", name) for name in "abcdef")))
    live = copy_of(base)
    for ycell in cells_of(live):
        ycell["source"].insert(0, "# ")
    moved = notebook(*(code(f"cell {name}", name) for name in "afbcde"))
    merge_into(live, base, moved)
    assert sources(live) == ["# cell a", "cell f", "# cell b", "# cell c", "# cell d", "# cell e"]
    assert read(merged(base, moved)) == moved


def test_many_changed_cells_without_ids_are_fast() -> None:
    base = doc_of(notebook(*(code(f"value_{n} = compute({n}, mode={n % 7})") for n in range(1_000)), minor=4))
    content = notebook(*(code(f"value_{n} = compute(mode={n % 7}, n={n})") for n in range(1_000)), minor=4)
    started = time.perf_counter()
    assert read(merged(base, content))["cells"] == content["cells"]
    assert time.perf_counter() - started < 10


# Notebooks: what a cell holds


def test_a_cell_that_changes_its_type_keeps_its_text() -> None:
    base = doc_of(notebook(code("# Title", "a", outputs=[stream("x")], execution_count=1)))
    as_text = notebook(markdown("# The title", "a", attachments={"a.png": {"image/png": "AA"}}))
    live = copy_of(base)
    insert_into(cells_of(live)[0]["source"], "Title", "Long ")
    merge_into(live, base, as_text)
    assert sources(live) == ["# The Long title"] or sources(live) == ["# Long The title"]
    doc = merged(base, as_text)
    assert read(doc) == as_text
    assert "execution_state" not in cells_of(doc)[0]
    back = notebook(code("# Title", "a"))
    again = merged(doc, back)
    assert read(again) == back
    assert cells_of(again)[0]["execution_state"] == "idle"


def test_metadata_is_edited_key_by_key() -> None:
    base = doc_of(notebook(code("a", "a", metadata={"tags": ["x"], "old": 1, "same": {"k": 1}})))
    live = copy_of(base)
    cells_of(live)[0]["metadata"]["live"] = True
    live.get("meta", type=Map)["metadata"]["live"] = True
    changed = notebook(code("a", "a", metadata={"tags": ["y"], "same": {"k": 1}, "new": None}))
    changed["metadata"]["title"] = "T"
    merge_into(live, base, changed)
    content = read(live)
    assert content["cells"][0]["metadata"] == {"tags": ["y"], "same": {"k": 1}, "new": None, "live": True}
    assert content["metadata"] == {**METADATA, "title": "T", "live": True}


def test_a_kernelspec_that_the_file_lost_becomes_the_default() -> None:
    doc = merged(doc_of(abc()), abc(metadata={}))
    assert read(doc)["metadata"] == read(doc_of(abc(metadata={})))["metadata"]


def test_keys_that_reach_no_file_are_left_alone() -> None:
    base = doc_of(abc(metadata={**METADATA, "signature": "s", "orig_nbformat": 2}))
    assert merge_update(base.get_update(), abc(), "notebook") is None
    cells_of(base)[0]["execution_state"] = "running"
    assert merge_update(base.get_update(), abc(), "notebook") is None


def test_execution_count_and_attachments_are_edited_alone() -> None:
    base = doc_of(
        notebook(code("a", "a", execution_count=1), markdown("m", "m", attachments={"a": {"b": "c"}}))
    )
    live = copy_of(base)
    touched = Touched(live)
    content = notebook(code("a", "a", execution_count=2), markdown("m", "m", attachments={"a": {"b": "d"}}))
    merge_into(live, base, content)
    assert sorted(touched.paths) == [[0], [1]]
    assert read(live) == content


def test_trust_stays_where_the_file_brings_no_new_output() -> None:
    """The contents manager marks all code cells at once, as the signature of the changed file is unknown."""
    trusted = {"metadata": {"trusted": True}}
    base = doc_of(notebook(code("a", "a", outputs=[shown("x")], **trusted), code("b", "b", **trusted)))
    new = {"metadata": {"trusted": False}}
    as_read = notebook(
        code("aa", "a", outputs=[shown("x")], **new), code("b", "b", outputs=[shown("y")], **new)
    )
    doc = merged(base, as_read)
    assert [cell["metadata"] for cell in read(doc)["cells"]] == [{"trusted": True}, {"trusted": False}]
    assert merge_update(base.get_update(), read(base), "notebook") is None
    silent = notebook(code("a", "a", outputs=[shown("evil")]), code("b", "b"))
    assert [cell["metadata"] for cell in read(merged(base, silent))["cells"]] == [{}, {"trusted": True}]


# Notebooks: outputs


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ([], [stream("1"), shown("x")]),
        ([stream("1"), shown("x")], []),
        ([stream("1\n2\n")], [stream("1\n3\n")]),
        ([stream("é😀")], [stream("é😁 more")]),
        ([stream("1"), stream("e", "stderr")], [stream("e", "stderr"), stream("1")]),
        ([stream("1"), shown("x"), stream("2")], [stream("11"), shown("x"), stream("22")]),
        ([shown("x"), shown("y"), shown("z")], [shown("x"), shown("why"), shown("z")]),
        ([shown("x"), shown("x")], [shown("x"), shown("y"), shown("x")]),
        ([shown("x")], [{"output_type": "error", "ename": "E", "evalue": "", "traceback": ["1", "2"]}]),
    ],
)
def test_outputs_become_what_the_file_holds(old: list[Json], new: list[Json]) -> None:
    content = notebook(code("a", "a", outputs=new))
    assert read(merged(doc_of(notebook(code("a", "a", outputs=old))), content)) == content


def test_equal_outputs_stay_untouched() -> None:
    base = doc_of(notebook(code("a", "a", outputs=[shown("x" * 9_000), shown("y"), shown("z" * 9_000)])))
    content = notebook(code("a", "a", outputs=[shown("x" * 9_000), shown("Y"), shown("z" * 9_000)]))
    update = merge_update(base.get_update(), content, "notebook")
    assert update is not None
    assert len(update) < 300


def test_a_stream_goes_on_in_place() -> None:
    """What the kernel adds meanwhile stays."""
    base = doc_of(notebook(code("a", "a", outputs=[stream("1\n"), shown("x")])))
    live = copy_of(base)
    outputs = cells_of(live)[0]["outputs"]
    outputs[0]["text"].insert(2, "2\n")
    outputs.append(Map(shown("live")))
    merge_into(live, base, notebook(code("a", "a", outputs=[stream("one\n"), shown("x")])))
    assert read(live)["cells"][0]["outputs"] == [stream("one\n2\n"), shown("x"), shown("live")]


def test_the_last_stream_is_cut_and_added_to_only_at_its_end() -> None:
    """JupyterLab understands no other change of it: it ignores where in the text a change was."""
    base = doc_of(notebook(code("a", "a", outputs=[stream("took 1.23 s\n")])))
    live = copy_of(base)
    deltas: list[Any] = []
    text = cells_of(live)[0]["outputs"][0]["text"]
    subscription = text.observe(lambda event: deltas.extend(event.delta))
    merge_into(live, base, notebook(code("a", "a", outputs=[stream("took 1.25 s\n")])))
    assert deltas == [{"retain": 8}, {"delete": 4}, {"insert": "5 s\n"}]
    text.unobserve(subscription)


def test_outputs_of_an_older_layout_are_replaced() -> None:
    """YNotebook.aset leaves plain objects where others expect maps."""
    base = doc_of(notebook(code("a", "a")))
    cells_of(base)[0]["outputs"].extend([stream("1"), shown("x"), Map(stream("2", "stderr"))])
    content = notebook(code("a", "a", outputs=[stream("1"), shown("x"), stream("2", "stderr")]))
    assert merge_update(base.get_update(), content, "notebook") is None
    content["cells"][0]["outputs"] = [stream("11"), shown("x"), stream("22", "stderr")]
    assert read(merged(base, content)) == content


# Properties

TEXTS = st.text(st.sampled_from("ab =\n(é漢😀"), max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.sampled_from([0.5, -1.25, 1e-7]) | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)
OBJECTS = st.dictionaries(st.sampled_from(["tags", "collapsed", "é", "x"]), VALUES, max_size=2)
OUTPUTS = st.lists(
    st.builds(stream, TEXTS, st.sampled_from(["stdout", "stderr"]))
    | st.builds(shown, TEXTS)
    | st.builds(lambda value: shown("") | {"data": {"application/json": value}}, VALUES),
    max_size=3,
)
CELLS = st.builds(
    lambda source, outputs, count, metadata: code(
        source, outputs=outputs, execution_count=count, metadata=metadata
    ),
    TEXTS,
    OUTPUTS,
    st.none() | st.integers(1, 99),
    OBJECTS,
) | st.builds(lambda source, metadata: markdown(source, metadata=metadata), TEXTS, OBJECTS)
# Enough cases to meet the rules above in combination; the whole file is to take seconds.
PROPERTY = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def notebooks(draw: st.DrawFn, minor: int) -> Json:
    cells = draw(st.lists(CELLS, min_size=1, max_size=5))
    return named("base", notebook(*cells, minor=minor, metadata={**METADATA, **draw(OBJECTS)}))


def named(prefix: str, content: Json) -> Json:
    """With ids where the format has them."""
    if content["nbformat_minor"] >= 5:
        for number, cell in enumerate(content["cells"]):
            cell.setdefault("id", f"{prefix}-{number}")
    return content


@st.composite
def changed(draw: st.DrawFn, base: Json, minor: int, marked: str = "") -> Json:
    """What a file may become: cells edited, replaced, added, taken out and, if not marked or with ids, moved."""
    cells: list[Json] = []
    for cell in base["cells"]:
        fate = draw(st.sampled_from(["keep", "keep", "edit", "replace", "delete", "add"]))
        kept = {key: cell[key] for key in cell if key != "id" or minor >= 5}
        if fate in ("keep", "add"):
            cells.append(kept)
        if fate == "edit":
            cells.append({**kept, "source": kept["source"] + marked + draw(TEXTS)})
        if fate in ("replace", "add"):
            new = draw(CELLS)
            new["source"] = marked + new["source"]
            cells.append({**new, "id": cell["id"]} if fate == "replace" and "id" in kept else new)
    if minor >= 5 or not marked:
        cells = draw(st.permutations(cells))
    content = notebook(
        *(cells or [code(f"left {marked}")]), minor=minor, metadata={**METADATA, **draw(OBJECTS)}
    )
    return named(f"new {marked}", content)


def exactly(content: Json) -> str:
    """As JSON, where `true` is not 1 though Python says so."""
    return json.dumps(content, sort_keys=True)


@PROPERTY
@given(st.data(), st.sampled_from([4, 5]), st.sampled_from([4, 5]))
def test_any_notebook_becomes_any_other(data: st.DataObject, old_minor: int, new_minor: int) -> None:
    base = data.draw(notebooks(old_minor))
    content = data.draw(changed(base, new_minor))
    before = doc_of(base).get_update()
    update = merge_update(before, content, "notebook")
    doc: Doc[Any] = Doc()
    doc.apply_update(before)
    if update is not None:
        doc.apply_update(update)
    assert exactly(read(doc)) == exactly(content)
    assert merge_update(doc.get_update(), content, "notebook") is None
    assert (update is None) == (exactly(base) == exactly(content))


@PROPERTY
@given(TEXTS | st.text(max_size=20), TEXTS | st.text(max_size=20), st.integers(0, 30), TEXTS)
def test_any_text_becomes_any_other_and_typing_survives(old: str, new: str, at: int, typed: str) -> None:
    base = doc_of(old)
    assert str(text_of(copy_of(base))) == old
    live = copy_of(base)
    text_of(live).insert(len(old[:at].encode()), typed)
    if update := merge_update(base.get_update(), new, "file"):
        live.apply_update(update)
        base.apply_update(update)
    assert str(text_of(base)) == new
    assert typed in str(text_of(live)) or not typed
    assert len(str(text_of(live))) == len(new) + len(typed)


@PROPERTY
@given(st.data(), st.sampled_from([4, 5]))
def test_a_live_edit_in_another_cell_survives_anything(data: st.DataObject, minor: int) -> None:
    base = data.draw(notebooks(minor))
    # Without ids, text is all there is to know a cell by: the file's new texts are none of the old ones.
    untouched = code("x = a_cell(that, only, people, touch) + since(it, has, words, of, its, own)")
    place = data.draw(st.integers(0, len(base["cells"])))
    base["cells"].insert(place, untouched | ({"id": "live"} if minor >= 5 else {}))
    before, after = ({**base, "cells": part} for part in (base["cells"][:place], base["cells"][place + 1 :]))
    content = data.draw(changed(before, minor, "before "))
    first = len(content["cells"])
    content["cells"] += [base["cells"][place], *data.draw(changed(after, minor, "after "))["cells"]]

    base_doc = doc_of(base)
    live = copy_of(base_doc)
    ytext = cells_of(live)[place]["source"]
    at = data.draw(st.integers(0, len(ytext)))
    ytext.insert(at, "[live]")
    typed = str(ytext)
    edits = live.get_update(base_doc.get_state())
    update = merge_update(base_doc.get_update(), content, "notebook")
    if update is not None:
        live.apply_update(update)
        base_doc.apply_update(update)
    base_doc.apply_update(edits)
    assert exactly(read(live)) == exactly(read(base_doc))
    expected = copy.deepcopy(content)
    expected["cells"][first]["source"] = typed
    assert exactly(read(live)) == exactly(expected)


@PROPERTY
@given(st.lists(st.integers(0, 4), max_size=40), st.lists(st.integers(0, 4), max_size=40))
def test_changes_leave_a_common_subsequence(old: list[int], new: list[int]) -> None:
    i = j = 0
    for i1, i2, j1, j2 in changes(old, new):
        assert old[i:i1] == new[j:j1]
        assert (i1 < i2 or j1 < j2) and (i1 > i or i == 0)
        i, j = i2, j2
    assert old[i:] == new[j:]


@PROPERTY
@given(st.permutations(range(8)))
def test_longest_increasing(values: list[int]) -> None:
    positions = longest_increasing(values)
    assert positions == sorted(set(positions))
    assert [values[p] for p in positions] == sorted(values[p] for p in positions)
    longest = [1] * len(values)
    for k, value in enumerate(values):
        longest[k] = 1 + max((longest[i] for i in range(k) if values[i] < value), default=0)
    assert len(positions) == max(longest)


def test_changes_of_what_repeats_are_as_few_as_they_can_be() -> None:
    assert changes("aaaa", "aaaaa") == [(4, 4, 4, 5)]
    assert changes("abababab", "ababxabab") == [(4, 4, 4, 5)]
    assert text_edits("    }\n}\n" * 50, "    }\n}\n" * 30 + "new\n" + "    }\n}\n" * 20) == [
        (240, 240, "new\n")
    ]


def test_edits_beyond_measure_are_joined() -> None:
    old, new = "a(" * 30_000, "b(" * 30_000
    edits = text_edits(old, new)
    assert 10_000 < len(edits) <= 20_000
    assert applied(old, edits) == new


def test_a_search_that_goes_too_deep_begins_anew() -> None:
    """No item is unique, and the differences are many more than are looked ahead."""
    random = Random(7)
    old, new = ("".join(random.choices("ab\n", k=4_000)) for _ in range(2))
    left = len(old) - sum(i2 - i1 for i1, i2, _, _ in changes(old, new))
    assert left > 2_500
    assert applied(old, text_edits(old, new)) == new


def applied(text: str, edits: list[tuple[int, int, str]]) -> str:
    for start, end, new in reversed(edits):
        text = text[:start] + new + text[end:]
    return text


# Real notebooks

DATA = Path(os.environ.get("RTC_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data") / "notebooks"
NOTEBOOKS = sorted(DATA.glob("*.ipynb"))


@pytest.fixture(
    params=NOTEBOOKS or [pytest.param(None, marks=pytest.mark.skip(reason=f"NO REAL NOTEBOOKS in {DATA}"))],
    ids=lambda path: path.stem if path else "none",
)
def real(request: pytest.FixtureRequest) -> tuple[Json, Doc[Any]]:
    """A notebook's file as it is, and the document that is made of it."""
    path: Path = request.param
    loaded = nbformat.read(path, as_version=4)
    for cell in loaded.cells:
        if cell.cell_type == "code":
            cell.metadata["trusted"] = True
    return json.loads(path.read_text(encoding="utf-8")), doc_of(loaded)


def test_a_real_notebook_read_again_is_no_edit(real: tuple[Json, Doc[Any]]) -> None:
    raw, doc = real
    assert merge_update(doc.get_update(), raw, "notebook") is None


def test_a_real_notebook_with_a_few_changes(real: tuple[Json, Doc[Any]]) -> None:
    raw, doc = real
    live = copy_of(doc)
    cells_of(live)[3]["source"].insert(0, "# live\n")
    raw["cells"][0]["source"].append(" changed")
    del raw["cells"][5]
    raw["cells"].insert(7, markdown("# new", "new" if raw["nbformat_minor"] >= 5 else None))
    update = merge_update(doc.get_update(), raw, "notebook")
    assert update is not None
    assert len(update) < 2_000
    live.apply_update(update)
    expected = normal_notebook(raw)
    expected["cells"][3]["source"] = "# live\n" + expected["cells"][3]["source"]
    assert untrusted(normal_notebook(read(live))) == untrusted(expected)


def test_a_real_notebook_stripped_of_its_outputs(real: tuple[Json, Doc[Any]]) -> None:
    raw, doc = real
    for cell in raw["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    live = merged(doc, raw)
    assert untrusted(normal_notebook(read(live))) == untrusted(normal_notebook(raw))


def untrusted(content: Json) -> Json:
    for cell in content["cells"]:
        cell["metadata"].pop("trusted", None)
    return content
