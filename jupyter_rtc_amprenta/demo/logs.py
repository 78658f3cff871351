"""Reading the end of a log file."""

from __future__ import annotations

from pathlib import Path


def tail(path: Path, lines: int = 15) -> str:
    """The last lines of a log, indented; empty if there is no such file."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return ""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])
