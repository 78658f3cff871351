"""Who is in a room: awareness states, each under the user who was authenticated, merged and throttled.

Browsers send a state with every move of a cursor. What changes within `TELL_SECONDS` leaves as one message, each
state of it written once, so that presence costs little however many people there are.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

from jupyter_rtc_amprenta.core import protocol
from jupyter_rtc_amprenta.core.presence import Speaker, vouched
from jupyter_rtc_amprenta.core.protocol import ClientState

from .yjs_connection import Connection

# At most so often is a room told who is where; the first change after a pause is told at once.
TELL_SECONDS = 0.05
# What one connection may say: a browser is one client, a user's server speaks for all that are in it.
MOST_CLIENTS = 10
MOST_CLIENTS_OF_A_LINK = 1000
LONGEST_STATE = 100_000
MOST_BYTES_OF_A_LINK = 4 * 2**20
# Clients repeat what they have heard of others; who has left must not come back by such an echo.
_REMEMBER_SECONDS = 60.0
_MOST_REMEMBERED = 10_000


@dataclass
class _Present:
    """One awareness client, as others see it, and who speaks for it: a connection, or another replica's name."""

    state: ClientState
    part: bytes
    speaker: Connection | str


@dataclass
class _Left:
    clock: int
    at: float
    username: str


class Presences:
    """The awareness of one room.

    Args:
        connections: the room's clients, live.
        on_local: called with the states that this process's own clients have changed, as parts of an awareness
            update (`protocol.encode_state`), when the room is told of them.
    """

    def __init__(
        self, connections: Collection[Connection], on_local: Callable[[list[bytes]], None] = lambda _: None
    ) -> None:
        self.left_out = 0
        self._connections = connections
        self._on_local = on_local
        self._present: dict[int, _Present] = {}
        self._left: dict[int, _Left] = {}
        self._said: Counter[Connection | str] = Counter()
        self._introduced: set[Connection] = set()
        # What the room is to be told: by client its part, and who needs no telling.
        self._news: dict[int, tuple[bytes, Connection | str]] = {}
        self._told_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def receive(self, connection: Connection, update: bytes) -> None:
        """A client tells of itself, or a link of its people.

        Raises:
            ProtocolError: it is not an awareness update.
        """
        for state in protocol.decode_states(update):
            if self._may_say(connection, state):
                self._take(state, connection, connection.speaker)
            else:
                self.left_out += 1
        self._introduced.add(connection)

    def receive_remote(self, replica: str, update: bytes) -> None:
        """Another replica tells of its clients; whom it shows them as is settled there.

        Raises:
            ProtocolError: it is not an awareness update.
        """
        for state in protocol.decode_states(update):
            known, left = self._present.get(state.client_id), self._left.get(state.client_id)
            # A replica that was not heard for a while tells of whom it had, with the clock they had.
            is_back = known is None and left is not None and state.state is not None and state.clock == left.clock
            if (is_back or self._is_news(state)) and (known is None or isinstance(known.speaker, str)):
                self._take(state, replica, None)

    def leave(self, speaker: Connection | str) -> None:
        """A client, or a replica, has gone: whom it spoke for is gone at once."""
        gone = [present.state for present in self._present.values() if present.speaker == speaker]
        for state in gone:
            self._take(replace(state, state=None), speaker, None)
        self._said.pop(speaker, None)
        self._introduced.discard(speaker)  # type: ignore[arg-type]
        if gone:
            self._tell_at_once()

    def replicas(self) -> set[str]:
        """The replicas that speak for somebody here."""
        return {present.speaker for present in self._present.values() if isinstance(present.speaker, str)}

    def local(self) -> list[bytes]:
        """The states of this process's own clients."""
        return [p.part for p in self._present.values() if not isinstance(p.speaker, str)]

    def message(self) -> bytes | None:
        """All who are here, as one message; None: nobody is."""
        parts = [present.part for present in self._present.values()]
        return protocol.encode_awareness(protocol.join_states(parts)) if parts else None

    def close(self) -> None:
        """Nothing is told any more."""
        if self._timer is not None:
            self._timer.cancel()

    # --- what is taken in ---

    def _may_say(self, connection: Connection, state: ClientState) -> bool:
        known = self._present.get(state.client_id)
        if known is None:
            most = MOST_CLIENTS_OF_A_LINK if connection.speaker.via else MOST_CLIENTS
            news = self._is_news(state) or self._comes_back(connection, state)
            return news and self._said[connection] < most
        if known.speaker is connection:
            return self._is_news(state)
        # Another connection speaks for this client. Only its own user may go on from here: a tab that reconnects,
        # before its old socket is known to be dead.
        return state.state is not None and state.clock > known.state.clock and _same_person(known, state, connection)

    def _is_news(self, state: ClientState) -> bool:
        """As y-protocols decides: a higher clock, or a leave at the same clock."""
        known = self._present.get(state.client_id)
        if known is not None:
            return state.clock > known.state.clock or (state.clock == known.state.clock and state.state is None)
        left = self._left.get(state.client_id)
        return state.state is not None and (left is None or state.clock > left.clock)

    def _comes_back(self, connection: Connection, state: ClientState) -> bool:
        """What a client says first is of itself: it may come back with the clock it left with."""
        left = self._left.get(state.client_id)
        same = left is not None and (left.clock, left.username) == (state.clock, connection.speaker.username)
        return same and state.state is not None and connection not in self._introduced

    def _take(self, state: ClientState, speaker: Connection | str, shown_as: Speaker | None) -> None:
        if state.state is not None and shown_as is not None:
            state = replace(state, state=vouched(state.state, shown_as))
        part = protocol.encode_state(state)
        if len(part) > LONGEST_STATE:
            self.left_out += 1
            return
        known = self._present.pop(state.client_id, None)
        if known is not None:
            self._said[known.speaker] -= 1
        if state.state is None:
            self._remember_who_left(state, speaker)
        else:
            self._present[state.client_id] = _Present(state, part, speaker)
            self._said[speaker] += 1
        self._news[state.client_id] = part, speaker
        if self._timer is None:
            wait = max(0.0, self._told_at + TELL_SECONDS - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(wait, self._tell)

    def _remember_who_left(self, state: ClientState, speaker: Connection | str) -> None:
        now, username = time.monotonic(), "" if isinstance(speaker, str) else speaker.speaker.username
        self._left.pop(state.client_id, None)
        self._left[state.client_id] = _Left(state.clock, now, username)
        while len(self._left) > _MOST_REMEMBERED or now - next(iter(self._left.values())).at > _REMEMBER_SECONDS:
            del self._left[next(iter(self._left))]

    # --- what is told ---

    def _tell_at_once(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(0, self._tell)

    def _tell(self) -> None:
        news, self._news = self._news, {}
        self._timer, self._told_at = None, time.monotonic()
        speakers = {speaker for _, speaker in news.values()}
        everything = _message(part for part, _ in news.values())
        for connection in list(self._connections):
            # To the sender too: a stock client that hears nothing for half a minute takes its connection for dead.
            # A link does not, and knows its own browsers.
            if connection not in speakers or not connection.speaker.via:
                connection.send(everything)
            elif others := [part for part, speaker in news.values() if speaker is not connection]:
                connection.send(_message(others))
        if own := [part for part, speaker in news.values() if not isinstance(speaker, str)]:
            self._on_local(own)


def most_bytes(speaker: Speaker) -> int:
    """How large a connection's awareness message may be: reading one takes a time that others wait."""
    return MOST_BYTES_OF_A_LINK if speaker.via else MOST_CLIENTS * LONGEST_STATE


def _same_person(known: _Present, state: ClientState, connection: Connection) -> bool:
    if not isinstance(known.speaker, str):
        return known.speaker.speaker.username == connection.speaker.username
    # Of another replica's clients no more is known here than whom it shows them as.
    return _shown_name(known.state.state) == _shown_name(vouched(state.state or {}, connection.speaker)) != ""


def _shown_name(state: dict[str, Any] | None) -> str:
    return str((state or {}).get("user", {}).get("name", ""))


def _message(parts: Iterable[Any]) -> bytes:
    return protocol.encode_awareness(protocol.join_states(list(parts)))
