"""What a file holds: its digest, its kind, its title. Pure."""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePosixPath
from typing import Any

_TYPES = {".py": "python", ".md": "markdown", ".json": "json", ".ipynb": "json"}
_LONGEST_TITLE = 200


def digest(content: str | dict[str, Any], file_type: str) -> str:
    """The SHA-256 of a file's content, by which a file that one of us wrote is recognised.

    It is taken of what the content means, since the contents manager formats what it writes: keys in order,
    `1.0` as `1`, and without the cells' `trusted` flags, which are made on each loading and never written.

    Args:
        content: as the contents manager or the document gives it.
        file_type: `notebook`, or another, which is text.
    """
    if file_type != "notebook" or not isinstance(content, dict):
        return hashlib.sha256(str(content).encode()).hexdigest()
    cells = content.get("cells")
    if isinstance(cells, list):
        content = content | {"cells": [_without_trust(cell) for cell in cells]}
    text = json.dumps(_canonical(content), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    # A lone surrogate can stand in JSON; it has no UTF-8.
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _without_trust(cell: Any) -> Any:
    metadata = cell.get("metadata") if isinstance(cell, dict) else None
    if not isinstance(metadata, dict):
        return cell
    return cell | {"metadata": {key: value for key, value in metadata.items() if key != "trusted"}}


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def without_trust(content: Any, file_type: str) -> Any:
    """A notebook without its cells' `trusted` flags, so that saving it signs nothing.

    The flags travel in the shared document: whoever may write could set them, and his output's JavaScript would run
    in another person's JupyterLab, signed by that person's own server.
    """
    if file_type != "notebook":
        return content
    cells = [
        cell | {"metadata": {key: value for key, value in cell["metadata"].items() if key != "trusted"}}
        if "metadata" in cell
        else cell
        for cell in content["cells"]
    ]
    return content | {"cells": cells}


def written(content: Any, file_type: str) -> str:
    """What the contents manager writes into the file for a content; to recognise the beginning of it."""
    if file_type != "notebook":
        return str(content)
    import nbformat  # takes long, and is seldom needed

    return nbformat.writes(nbformat.from_dict(without_trust(content, file_type)), nbformat.NO_CONVERT)


def document_type(file_type: str, path: str) -> str:
    """The kind of document, as the REST API names it: `notebook`, `python`, `markdown`, `json` or `text`."""
    return "notebook" if file_type == "notebook" else _TYPES.get(PurePosixPath(path).suffix.lower(), "text")


def title(content: str | dict[str, Any], kind: str, path: str) -> str:
    """The first heading of a notebook or a Markdown file, else the file's name."""
    texts: list[Any] = []
    if kind == "notebook" and isinstance(content, dict):
        texts = [
            cell.get("source") for cell in content.get("cells", []) if cell.get("cell_type") == "markdown"
        ]
    elif kind == "markdown":
        texts = [content]
    headings = (heading for text in texts if (heading := _heading(_text(text))))
    return next(headings, PurePosixPath(path).name)[:_LONGEST_TITLE]


def _heading(text: str) -> str:
    """The first `# heading` of a Markdown text that is not in a fenced block of code, or ""."""
    fenced = False
    for line in text.split("\n"):
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        marks = len(line) - len(line.lstrip("#"))
        if fenced or not 1 <= marks <= 6 or line[marks : marks + 1] not in (" ", "\t"):
            continue
        # Closing marks stand apart: "# C#" is about C#.
        whole = line[marks:].strip()
        without = whole.rstrip("#")
        if heading := without.strip() if without[-1:] in ("", " ", "\t") else whole:
            return heading
    return ""


def _text(source: Any) -> str:
    return "".join(source) if isinstance(source, list) else str(source or "")
