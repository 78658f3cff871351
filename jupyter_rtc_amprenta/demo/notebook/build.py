"""Builds and executes the sample notebook: `python -m jupyter_rtc_amprenta.demo.notebook.build`.

`welcome.py` holds the cells in the percent format (`# %%` begins a code cell, `# %% [markdown]` a
text cell); the notebook with its outputs is kept beside it, and installed.
"""

from __future__ import annotations

import re
from pathlib import Path

SOURCE = Path(__file__).with_name("welcome.py")
NOTEBOOK = Path(__file__).with_name("Welcome.ipynb")


def cells(source: str) -> list[tuple[str, str]]:
    """The cells of a script in the percent format, each as its type and its text."""
    found = []
    for marker, text in re.findall(r"^# %%(.*)\n((?:(?!# %%).*\n)*)", source, flags=re.MULTILINE):
        if "[markdown]" in marker:
            found.append(("markdown", re.sub(r"^# ?", "", text, flags=re.MULTILINE).strip()))
        else:
            found.append(("code", text.strip()))
    return found


def build() -> None:
    """Executes the notebook from its first cell to its last, and writes it.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell fails.
    """
    from nbclient import NotebookClient
    from nbformat import v4, write

    notebook = v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    )
    for number, (kind, text) in enumerate(cells(SOURCE.read_text(encoding="utf-8")), start=1):
        make = v4.new_markdown_cell if kind == "markdown" else v4.new_code_cell
        # Fixed ids: building again changes only what differs.
        notebook.cells.append(make(text, id=f"welcome-{number:02}"))
    NotebookClient(notebook, timeout=120, record_timing=False).execute()
    write(notebook, NOTEBOOK)
    print(f"{NOTEBOOK}: {len(notebook.cells)} cells, {NOTEBOOK.stat().st_size // 1000} kB")


if __name__ == "__main__":
    build()
