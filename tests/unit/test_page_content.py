"""What pages show of a version's content and of the API's description: text, all of it or said to be cut."""

from __future__ import annotations

import json

import nbformat
import pytest

from jupyterhub_service import openapi, previews
from jupyterhub_service.api_page import described, type_of
from jupyterhub_service.operations import OPERATIONS
from jupyterhub_service.pages_history import _file_name
from jupyterhub_service.previews import Block, preview


def test_a_text_is_one_block() -> None:
    assert preview("a\n<b>", "markdown") == ([Block("text", "a\n<b>")], False)


def test_a_notebook_is_its_cells_and_outputs() -> None:
    cell = nbformat.v4.new_code_cell(["a\n", "b"])
    cell["outputs"] = [
        nbformat.v4.new_output("stream", text=["one\n", "two"]),
        nbformat.v4.new_output("display_data", data={"image/png": "AAAA", "text/plain": "<Figure>"}),
        nbformat.v4.new_output("execute_result", data={"text/plain": "3"}, execution_count=1),
        nbformat.v4.new_output("execute_result", data={"application/json": {}}, execution_count=1),
        nbformat.v4.new_output("error", ename="E", evalue="x", traceback=["\x1b[31mE\x1b[0m", "x"]),
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# T"), cell])
    blocks, is_cut = preview(nbformat.writes(notebook), "notebook")
    assert blocks == [
        Block("markdown", "# T"),
        Block("code", "a\nb"),
        Block("output", "one\ntwo"),
        Block("output", "(a picture)"),
        Block("output", "3"),
        Block("output", "E\nx"),
    ]
    assert not is_cut


def test_what_is_long_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previews, "_MOST_CHARACTERS", 10)
    cells = [{"cell_type": "code", "source": "x" * 8, "outputs": []}] * 3
    assert preview(json.dumps({"cells": cells}), "notebook") == (
        [Block("code", "x" * 8), Block("code", "xx")],
        True,
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.b.ipynb", "a.b (2025-12-31 11.22).ipynb"),
        ("Makefile", "Makefile (2025-12-31 11.22)"),
        (".gitignore", "gitignore (2025-12-31 11.22)"),
    ],
)
def test_a_download_is_called_by_its_time(name: str, expected: str) -> None:
    assert _file_name({"file_name": name, "created_at": "2025-12-31T11:22:35.866404Z"}) == expected


def test_the_page_of_the_api_has_every_operation_and_schema() -> None:
    document = openapi.document("/api")
    page = described(document)
    shown = {(one["method"].lower(), one["path"]) for ones in page["operations"].values() for one in ones}
    assert shown == {(operation.method, operation.path) for operation in OPERATIONS}
    assert set(page["schemas"]) == set(document["components"]["schemas"])


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "string", "format": "date-time"}, "time"),
        ({"type": ["string", "null"], "maxLength": 9}, "text or nothing, at most 9 characters"),
        ({"type": "integer", "minimum": 1, "default": 1}, "number, at least 1, 1 if not given"),
        ({"enum": ["a", "b"]}, "a or b"),
        ({"const": "Bearer"}, "Bearer"),
        ({"type": "array", "items": {"$ref": "#/components/schemas/User"}}, "list of User"),
        ({"type": "boolean"}, "true or false"),
    ],
)
def test_types_in_words(schema: dict, words: str) -> None:
    assert type_of(schema) == words
