"""What one may only read is shown as read-only: the contents manager says so of the files of such documents.

File modes would not do: root ignores them, and upstream saves no file that is not writable, while the copy of a
document is kept up to date whoever may edit it. So the answer is changed, and not for the room that saves.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from inspect import isawaitable
from typing import Any

# Set in the task that keeps a copy up to date.
MAY_WRITE: ContextVar[bool] = ContextVar("may_write", default=False)


def mark_read_only(manager: Any, is_read_only: Callable[[str], bool]) -> None:
    """Make a contents manager say which files are not writable.

    Args:
        manager: jupyter_server's contents manager, whose `get` is wrapped.
        is_read_only: whether a path is of a document that may only be read.
    """
    original = manager.get

    def get(path: str, *args: Any, **kwargs: Any) -> Any:
        model = original(path, *args, **kwargs)
        return _later(model) if isawaitable(model) else _marked(model)

    async def _later(model: Any) -> Any:
        return _marked(await model)

    def _marked(model: dict[str, Any]) -> dict[str, Any]:
        if is_read_only(model["path"].strip("/")) and not MAY_WRITE.get():
            model["writable"] = False
        return model

    manager.get = get
