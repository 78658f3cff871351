"""A file is known by what it means, not by how it is written; its kind and its title are the REST API's."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from typing import Any
from zlib import crc32

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jupyter_server.services.contents.filemanager import FileContentsManager
from jupyter_ydoc import YNotebook, YUnicode

from jupyter_rtc_amprenta.core.content import digest, document_type, title
from jupyter_rtc_amprenta.core.schema import DOCUMENT_TYPES

Json = dict[str, Any]


def cell(source: str, kind: str = "code", **more: Any) -> Json:
    code = {"outputs": [], "execution_count": None} if kind == "code" else {}
    return (
        {
            "cell_type": kind,
            "source": source,
            "metadata": {},
            "id": f"c{crc32(source.encode(errors='replace'))}",
        }
        | code
        | more
    )


def notebook(*cells: Json, **metadata: Any) -> Json:
    return {"cells": list(cells), "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def shown(data: Any) -> Json:
    return {"output_type": "display_data", "data": {"application/json": data}, "metadata": {}}


# --- the digest ---


def test_the_order_of_keys_means_nothing() -> None:
    one = notebook(
        cell("a = 1"), cell("# T", "markdown"), kernelspec={"name": "python3", "display_name": "P"}
    )
    other = json.loads(json.dumps(one, sort_keys=True))
    other = dict(reversed(other.items()))
    assert list(one) != list(other)
    assert digest(one, "notebook") == digest(other, "notebook")


def test_the_order_of_cells_means_something() -> None:
    one, two = cell("1"), cell("2")
    assert digest(notebook(one, two), "notebook") != digest(notebook(two, one), "notebook")


@pytest.mark.parametrize(
    ("written", "read"), [(1.0, 1), (-0.0, 0), (1e20, 10**20), ([1.0, {"x": 2.0}], [1, {"x": 2}])]
)
def test_a_whole_number_is_one_however_the_document_keeps_it(written: Any, read: Any) -> None:
    assert digest(notebook(cell("", outputs=[shown(written)])), "notebook") == digest(
        notebook(cell("", outputs=[shown(read)])), "notebook"
    )


@pytest.mark.parametrize(
    ("one", "other"), [(1, 2), (1, True), (0, False), (0, None), (1, "1"), (1.5, 1), ("", None)]
)
def test_other_values_differ(one: Any, other: Any) -> None:
    assert digest(notebook(x=one), "notebook") != digest(notebook(x=other), "notebook")


def test_a_cells_trust_is_made_on_each_loading_and_means_nothing() -> None:
    plain = notebook(cell("a", outputs=[shown(1)]), cell("t", "markdown"))
    trusted, distrusted = copy.deepcopy(plain), copy.deepcopy(plain)
    for marked, trust in ((trusted, True), (distrusted, False)):
        for each in marked["cells"]:
            each["metadata"]["trusted"] = trust
    assert len({digest(content, "notebook") for content in (plain, trusted, distrusted)}) == 1


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda nb: nb["metadata"].update(trusted="yes"), id="the notebook's metadata"),
        pytest.param(
            lambda nb: nb["cells"][0]["outputs"].append(shown({"trusted": 1})), id="an output's data"
        ),
        pytest.param(lambda nb: nb["cells"][0]["metadata"].update(tags=["x"]), id="a cell's metadata"),
        pytest.param(lambda nb: nb["cells"][0].update(source="a "), id="a blank in a source"),
        pytest.param(lambda nb: nb["cells"][0].update(id="other"), id="a cell's id"),
        pytest.param(lambda nb: nb["cells"][0].update(execution_count=1), id="a count"),
        pytest.param(lambda nb: nb.update(nbformat_minor=4), id="the format"),
    ],
)
def test_whatever_else_is_changed_changes_it(change: Any) -> None:
    before = notebook(cell("a"))
    after = copy.deepcopy(before)
    change(after)
    assert digest(before, "notebook") != digest(after, "notebook")


def test_taking_it_changes_nothing() -> None:
    content = notebook(cell("a", metadata={"trusted": True}), x=1.0)
    before = copy.deepcopy(content)
    digest(content, "notebook")
    assert content == before and content["cells"][0]["metadata"] == {"trusted": True}


def test_a_text_is_its_characters() -> None:
    assert digest("a\n", "file") != digest("a", "file") != digest("a\r\n", "file")
    assert digest("é", "file") != digest("e\u0301", "file")
    assert (
        digest("", "file")
        == digest("", "python")
        == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )


def test_half_an_emoji_in_a_notebook_is_no_obstacle() -> None:
    assert digest(notebook(cell("'\ud83e'")), "notebook") != digest(notebook(cell("'\ud83d'")), "notebook")


@pytest.mark.parametrize(
    "content", [{}, {"cells": None}, {"cells": [None, 1, {"metadata": None}]}, "not a notebook", None]
)
def test_what_is_no_notebook_has_one_too(content: Any) -> None:
    assert len(digest(content, "notebook")) == 64


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**50), 2**50)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=3), st.lists(json_values, max_size=2))
def test_writing_and_reading_json_does_not_change_it(metadata: Json, data: list[Any]) -> None:
    content = notebook(cell("x", outputs=[shown(item) for item in data]), m=metadata)
    assert digest(json.loads(json.dumps(content)), "notebook") == digest(content, "notebook")


def test_a_notebook_keeps_its_digest_from_the_file_to_the_document_and_back(tmp_path: Path) -> None:
    """What `linked.py` relies on: the same digest from the contents manager and from jupyter_ydoc."""
    content = notebook(
        cell(
            "import this\n\nprint('ü')",
            outputs=[shown({"a": [1, 2.5, None, {"b": "🦉"}]})],
            execution_count=3,
        ),
        cell("# Title", "markdown", attachments={"x.png": {"image/png": "aGk="}}),
        cell("raw", "raw"),
        cell(
            "1/0",
            execution_count=4,
            outputs=[
                {"output_type": "stream", "name": "stdout", "text": "one\ntwo\n"},
                {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["a", "b"]},
            ],
        ),
        kernelspec={"name": "python3", "display_name": "Python 3"},
        language_info={"name": "python"},
    )
    (tmp_path / "a.ipynb").write_text(nbformat.writes(nbformat.from_dict(content)))
    manager = FileContentsManager(root_dir=str(tmp_path))
    first = manager.get("a.ipynb", type="notebook", format="json")["content"]
    document = YNotebook()
    document.set(first)
    assert digest(first, "notebook") == digest(document.get(), "notebook") == digest(content, "notebook")
    manager.save({"type": "notebook", "format": "json", "content": document.get()}, "a.ipynb")
    again = manager.get("a.ipynb", type="notebook", format="json")["content"]
    assert digest(again, "notebook") == digest(first, "notebook")


def test_a_text_keeps_its_digest_from_the_file_to_the_document_and_back() -> None:
    text = "a = 'ü🦉'\n\ttab\n"
    document = YUnicode()
    document.set(text)
    assert digest(document.get(), "file") == digest(text, "file")


# --- the kind ---


@pytest.mark.parametrize(
    ("file_type", "path", "kind"),
    [
        ("notebook", "a/b.ipynb", "notebook"),
        ("notebook", "odd.txt", "notebook"),
        ("file", "a.ipynb", "json"),
        ("file", "a.py", "python"),
        ("file", "A.PY", "python"),
        ("file", "README.md", "markdown"),
        ("file", "x.json", "json"),
        ("file", "x.tar.gz", "text"),
        ("file", "Makefile", "text"),
        ("file", ".py", "text"),
        ("file", "a.py/b", "text"),
        ("unknown", "a.py", "python"),
        ("file", "", "text"),
    ],
)
def test_the_kind_comes_from_the_type_and_the_name(file_type: str, path: str, kind: str) -> None:
    assert document_type(file_type, path) == kind


@given(st.text(max_size=20), st.sampled_from(["file", "notebook", "x"]))
def test_every_kind_is_one_that_the_api_knows(path: str, file_type: str) -> None:
    assert document_type(file_type, path) in DOCUMENT_TYPES


# --- the title ---


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("# Title", "Title"),
        ("\n\nprose\n## Second level\n# First", "Second level"),
        ("#\tTab", "Tab"),
        ("# Closed ##", "Closed"),
        ("# Learning C#", "Learning C#"),
        ("#   blanks   ", "blanks"),
        ("# Ünï 🦉 **bold**", "Ünï 🦉 **bold**"),
        ("# with CRLF\r\nx", "with CRLF"),
        ("```sh\n# a comment\n```\n# Real", "Real"),
        ("~~~\n# a comment\n~~~\n## Real", "Real"),
        ("#hashtag\n# Real", "Real"),
        ("####### seven\n# Real", "Real"),
        ("#\n\nprose\n# Real", "Real"),
        ("# \n# ##\n# Real", "Real"),
    ],
)
def test_the_first_heading_is_the_title(text: str, found: str) -> None:
    assert title(text, "markdown", "f/x.md") == found
    assert title(notebook(cell("# code"), cell(text, "markdown")), "notebook", "f/x.ipynb") == found


def test_a_notebooks_first_heading_may_stand_in_any_of_its_markdown_cells() -> None:
    cells = (cell("# a comment"), cell("prose", "markdown"), cell("", "raw"), cell("## Found", "markdown"))
    assert title(notebook(*cells), "notebook", "x.ipynb") == "Found"
    lines = {"cell_type": "markdown", "source": ["prose\n", "# In lines\n"], "metadata": {}}
    assert title(notebook(lines), "notebook", "x.ipynb") == "In lines"


@pytest.mark.parametrize(
    ("content", "kind", "path", "found"),
    [
        ("prose", "markdown", "a/notes.md", "notes.md"),
        ("# a comment", "python", "a/run.py", "run.py"),
        ("# x", "text", "x", "x"),
        ('{"# x": 1}', "json", "deep/er/x.json", "x.json"),
        (notebook(), "notebook", "Untitled.ipynb", "Untitled.ipynb"),
        (notebook({"cell_type": "markdown"}), "notebook", "n.ipynb", "n.ipynb"),
        ("# no notebook", "notebook", "n.ipynb", "n.ipynb"),
        ("", "markdown", "", ""),
    ],
)
def test_without_a_heading_it_is_the_files_name(content: Any, kind: str, path: str, found: str) -> None:
    assert title(content, kind, path) == found


def test_a_title_has_an_end() -> None:
    assert title("# " + "long " * 100, "markdown", "x.md") == ("long " * 40)[:200]
    assert len(title("", "text", "n" * 300)) == 200


@pytest.mark.parametrize(
    "line", ["# a" + " " * 50_000 + "b", "# " + "# " * 50_000, "#" * 100_000, "# " + "#" * 100_000 + "x"]
)
def test_no_line_takes_long(line: str) -> None:
    began = time.perf_counter()
    title(line, "markdown", "x.md")
    assert time.perf_counter() - began < 0.5
