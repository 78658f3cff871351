"""Whom an awareness state is shown as: the user of the connection's token, never whom it says it is (rule 8). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# What editors show, or tell people apart by.
_NAMES = ("name", "display_name", "username")


@dataclass(frozen=True)
class Speaker:
    """Who a connection's token says it is.

    Attributes:
        username: the Hub user.
        display_name: what people call them; the username where nothing else is known.
        via: the server that holds the connection, such as "alice/" or "alice/gpu": it speaks for several people;
            or "": the connection is a person's own.
    """

    username: str
    display_name: str
    via: str = ""

    @property
    def server(self) -> str:
        """The server, for people: "alice's server", "alice's server gpu"."""
        owner, _, name = self.via.partition("/")
        return f"{owner}'s server {name}".rstrip()


def vouched(state: dict[str, Any], speaker: Speaker) -> dict[str, Any]:
    """An awareness state as it is told to others.

    A connection's own user has the names that the token gives. Whoever else a link speaks for is "name, via
    alice's server": that server vouches for them, and nobody else does.
    """
    user = state.get("user")
    user = dict(user) if isinstance(user, dict) else {}
    if not speaker.via or _is_own(user, speaker):
        names = {name: speaker.display_name for name in ("name", "display_name") if name in user}
        shown = user | {"name": speaker.display_name} | names
        if "username" in user:
            shown["username"] = speaker.username
        return state | {"user": shown}
    if not user:
        # Nobody is named: a page that has not said yet whose it is.
        return {key: value for key, value in state.items() if key != "user"}
    return state | {"user": user | {n: f"{user[n]}, via {speaker.server}" for n in _NAMES if n in user}}


def _is_own(user: dict[str, Any], speaker: Speaker) -> bool:
    if "username" in user:
        return user["username"] == speaker.username
    return user.get("name") in (speaker.username, speaker.display_name)
