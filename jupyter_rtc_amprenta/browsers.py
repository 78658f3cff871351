"""The browsers in a linked room: which one speaks, and what they are told when the room can't serve them."""

from __future__ import annotations

import json
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from .core.errors import ServiceError, ServiceUnavailable
from .retraction import Retraction

# The close code at which JupyterLab shows the reason, and offers to reload; of jupyter-collaboration.
_RELOAD = 1003


@dataclass(eq=False)
class Browser:
    """One browser's connection to a room.

    Attributes:
        channel: upstream's handler of its socket.
        speaks_for: the awareness clients that are its own.
        introduced: whether it has told of itself.
        retraction: takes back what it types without the right; made when that first happens.
    """

    channel: Any
    speaks_for: set[int] = field(default_factory=set)
    introduced: bool = False
    retraction: Retraction | None = None

    @property
    def username(self) -> str | None:
        """Whose browser it is."""
        return getattr(self.channel.current_user, "username", None)


# Whose message is being handled: upstream's hook for messages is not told, but runs in the task that serves them.
BROWSER: ContextVar[Browser | None] = ContextVar("browser", default=None)

# Why a document is one no longer here. As short as a close frame asks for: see `ask_to_reload`.
ENDED = {
    "removed": "You take part no longer. This copy is yours, and no longer shared.",
    "deleted": "The document was deleted. This copy is yours, and no longer shared.",
}
# By the code of what is raised. A close frame has 123 bytes, and upstream puts 74 around them.
_SENTENCES = {
    "not_in_group": "You may not enter this shared volume.",
    "unknown_volume": "The service does not know this shared volume.",
    "file_unknown": "It was changed: a participant must open it first.",
    "known_here": "It is known here under another name.",
    "volume_offline": "The collaboration service does not answer.",
}


def for_the_browser(error: Exception) -> ServiceUnavailable:
    """What a browser is told of why a room can't be opened; the log has all of it."""
    code = error.code if isinstance(error, ServiceError) else ""
    return ServiceUnavailable(_SENTENCES.get(code, "It can't be opened now. See the log."))


def ask_to_reload(channel: Any, text: str) -> None:
    """Close a browser's socket so that JupyterLab shows `text` and offers to reload. A close frame has 123 bytes."""
    channel.close(_RELOAD, json.dumps({"reason": "rtc", "reloadable": True, "errorReason": text}))
