"""Copies of a document's file: what is kept beside it, and what the name of a copy says."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from jupyter_server.utils import ensure_async

log = logging.getLogger(__name__)

NO_LONGER_SHARED = " (no longer shared)"


async def keep_beside(manager: Any, path: str, kind: tuple[str, str], content: Any) -> None:
    """Keep a content that can't be merged as a copy beside the file; nothing is overwritten.

    Args:
        manager: the server's contents manager.
        path: the file's.
        kind: its format and its type.
        content: what is kept.

    Raises:
        HTTPError, OSError: it can't be written.
    """
    file = PurePosixPath(path)
    stamp = datetime.now().strftime("%Y-%m-%d %H.%M.%S")
    copy = await _free_name(manager, file, f"{file.stem} (conflict {stamp}){file.suffix}")
    # What is no notebook is kept as the text that it is.
    form, type_ = ("text", "file") if isinstance(content, str) else kind
    await ensure_async(manager.save({"format": form, "type": type_, "content": content}, copy))
    log.warning("%s held what could not be merged; it is kept as %s.", path, copy)


async def mark_name(manager: Any, path: str, has_ended: bool) -> None:
    """Rename a copy so that its name says whether it is shared no longer.

    Args:
        manager: the server's contents manager.
        path: the copy's.
        has_ended: whether its user takes part no longer.

    Raises:
        HTTPError, OSError: the file can't be renamed.
    """
    file = PurePosixPath(path)
    stem = file.stem.removesuffix(NO_LONGER_SHARED) + (NO_LONGER_SHARED if has_ended else "")
    if stem == file.stem:
        return
    new = await _free_name(manager, file, stem + file.suffix)
    await ensure_async(manager.rename(path, new))
    log.info("%s is %s now.", path, new)


async def _free_name(manager: Any, beside: PurePosixPath, name: str) -> str:
    folder = "" if str(beside.parent) == "." else str(beside.parent)
    return str(beside.with_name(await ensure_async(manager.increment_filename(name, path=folder))))
