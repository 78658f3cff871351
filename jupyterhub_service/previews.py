"""A file's content as a page shows it: blocks of text, none of which a browser takes for anything else. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# A browser shows no more than this with pleasure; the download has all of it.
_MOST_CHARACTERS = 200_000
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class Block:
    """A piece of a file.

    Attributes:
        kind: `code`, `markdown`, `raw`, `output`, or `text` for a file that is no notebook.
        text: as it stands there.
    """

    kind: str
    text: str


def preview(content: str, document_type: str) -> tuple[list[Block], bool]:
    """The blocks of a file, and whether something was left out.

    Args:
        content: a notebook in nbformat's JSON, or text.
        document_type: `notebook`, or another, which is text.
    """
    blocks: list[Block] = []
    left = _MOST_CHARACTERS
    for block in _blocks(content, document_type):
        if len(block.text) > left:
            return [*blocks, Block(block.kind, block.text[:left])], True
        blocks.append(block)
        left -= len(block.text)
    return blocks, False


def _blocks(content: str, document_type: str) -> Iterator[Block]:
    if document_type != "notebook":
        yield Block("text", content)
        return
    for cell in json.loads(content).get("cells", []):
        yield Block(str(cell.get("cell_type", "raw")), _text(cell.get("source")))
        for output in cell.get("outputs", []):
            if text := _ANSI.sub("", _output(output)):
                yield Block("output", text)


def _output(output: Any) -> str:
    if "text" in output:
        return _text(output["text"])
    if "traceback" in output:
        return "\n".join(map(str, output["traceback"]))
    data = output.get("data", {})
    if any(str(kind).startswith("image/") for kind in data):
        return "(a picture)"
    return _text(data.get("text/plain", ""))


def _text(value: Any) -> str:
    return "".join(map(str, value)) if isinstance(value, list) else str(value or "")
