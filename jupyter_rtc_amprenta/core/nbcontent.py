"""Notebooks in one normal form, so that what means the same compares equal; pure.

A notebook comes in as many spellings: nbformat splits texts into lists of lines, Yjs keeps every
number as a float, jupyter_ydoc fills in defaults, and some keys never reach a file.
"""

from __future__ import annotations

import math
from itertools import count
from typing import Any

from .errors import ContentError

#: A cell, an output or other JSON object.
Json = dict[str, Any]

# jupyter_ydoc's YNotebook takes these for what a notebook does not say.
NBFORMAT, NBFORMAT_MINOR = 4, 5
_DEFAULT_METADATA = {"language_info": {"name": ""}, "kernelspec": {"name": "", "display_name": ""}}
# nbformat strips these from every file that it reads or writes.
_TRANSIENT_METADATA = ("orig_nbformat", "orig_nbformat_minor", "signature")
# From here on a 64-bit integer comes back from pycrdt as another number.
_INTEGER_LIMIT = 2**63 - 2**10


def normal_notebook(notebook: Any) -> Json:
    """A notebook's `cells`, `metadata`, `nbformat` and `nbformat_minor`, in normal form and copied.

    Args:
        notebook: what the contents manager or a file's JSON gives, or the document itself.

    Raises:
        ContentError: it is no notebook of format 4.
    """
    notebook = _object(notebook, "the notebook")
    metadata = _object(_plain(notebook.get("metadata", {})), "the notebook's metadata")
    for key in _TRANSIENT_METADATA:
        metadata.pop(key, None)
    for key, default in _DEFAULT_METADATA.items():
        metadata.setdefault(key, dict(default))
    cells = notebook.get("cells")
    if not isinstance(cells, list):
        raise ContentError("The notebook has no list of cells (is it older than nbformat 4?)")
    return {
        "cells": [_normal_cell(cell, f"cell {position}") for position, cell in enumerate(cells)],
        "metadata": metadata,
        "nbformat": _version(notebook.get("nbformat", NBFORMAT)),
        "nbformat_minor": _version(notebook.get("nbformat_minor", NBFORMAT_MINOR)),
    }


def told_apart(notebook: Json) -> Json:
    """A notebook each of whose cells has an id of its own, as YNotebook's `get` makes it, without an edit.

    Two people who move one cell at the same time make two of it. Equal ones are shown once; of others the later one
    is given another id, until somebody who may write has given it one for good.
    """
    taken = {cell.get("id") for cell in notebook["cells"]}
    by_id: dict[Any, Json] = {}
    cells = []
    for cell in notebook["cells"]:
        name = cell.get("id")
        if name and name in by_id:
            if cell == by_id[name]:
                continue
            # nbformat allows 64 characters.
            name = next(other for n in count(2) if (other := f"{str(name)[:56]}-{n}") not in taken)
            taken.add(name)
            cell = cell | {"id": name}
        by_id[name] = cell
        cells.append(cell)
    return notebook | {"cells": cells}


def well_formed(text: str) -> str:
    """The text without lone surrogates, which JSON can spell and neither UTF-8 nor Yjs can."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def same(a: Any, b: Any) -> bool:
    """Whether two values in normal form are equal as JSON, where `true` is not 1."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def _normal_cell(cell: Any, where: str) -> Json:
    cell = _plain(_object(cell, where))
    if not isinstance(cell.get("cell_type"), str):
        raise ContentError(f"The notebook's {where} has no cell_type")
    if not isinstance(cell.get("id", ""), str):
        raise ContentError(f"The notebook's {where} has an id that is no text")
    cell["source"] = _text(cell.get("source"), f"source of {where}")
    cell["metadata"] = _object(cell.get("metadata", {}), f"metadata of {where}")
    cell.pop("execution_state", None)  # of the running kernel: it reaches no file
    if cell["cell_type"] == "code":
        cell.setdefault("execution_count", None)
        cell.setdefault("outputs", [])
    if "outputs" in cell:
        cell["outputs"] = _normal_outputs(cell["outputs"], where)
    attachments = _object(cell.pop("attachments", None) or {}, f"attachments of {where}")
    if attachments:
        cell["attachments"] = {name: _rejoined(data) for name, data in attachments.items()}
    return cell


def _normal_outputs(outputs: Any, where: str) -> list[Json]:
    if not isinstance(outputs, list):
        raise ContentError(f"The notebook's {where} has outputs that are no list")
    for output in outputs:
        kind = _object(output, f"output in {where}").get("output_type")
        if kind == "stream":
            output["text"] = _text(output.get("text", ""), f"output text in {where}")
        elif isinstance(output.get("data"), dict):
            output["data"] = _rejoined(output["data"])
    return outputs


def _rejoined(data: Any) -> Any:
    """A mimebundle whose texts are strings, where nbformat split them into lines."""
    if not isinstance(data, dict):
        return data
    return {kind: _text_if_lines(value, kind) for kind, value in data.items()}


def _text_if_lines(value: Any, kind: str) -> Any:
    is_json = kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
    if is_json or not isinstance(value, list) or not all(isinstance(line, str) for line in value):
        return value
    return "".join(value)


def _text(value: Any, where: str) -> str:
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "".join(value)
    if not isinstance(value, str):
        raise ContentError(f"The notebook's {where} is no text")
    return value


def _object(value: Any, where: str) -> Json:
    if not isinstance(value, dict):
        raise ContentError(f"The notebook is malformed: {where} is no JSON object")
    return value


def _version(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not float(value).is_integer():
        raise ContentError("The notebook's format version is no whole number")
    return float(value)


def _plain(value: Any) -> Any:
    """A JSON value as Yjs would give it back."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, (int, float)):
        return _number(value)
    if isinstance(value, dict):
        return {well_formed(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    raise ContentError(f"The notebook holds a value that is not JSON: {type(value).__name__}")


def _number(value: int | float) -> int | float | None:
    """A float, or an integer that no float is equal to; None for what JSON (and YNotebook.get) lacks."""
    try:
        number = float(value)
    except OverflowError:
        return None
    if not math.isfinite(number):
        return None
    return value if value != number and abs(value) < _INTEGER_LIMIT else number
