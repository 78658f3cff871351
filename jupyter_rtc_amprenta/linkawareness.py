"""Who is here, across servers: a room's awareness and the link's, each told of the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pycrdt import Awareness

from .core import protocol
from .core.protocol import ClientState


class LinkAwareness:
    """Carries awareness states between a room and its link.

    Args:
        awareness: the room's.
        tell_room: sends a message to every browser of the room.
    """

    def __init__(self, awareness: Awareness, tell_room: Callable[[bytes], None]) -> None:
        self._awareness = awareness
        self._tell_room = tell_room
        self._send: Callable[[bytes], None] | None = None
        self._subscription: str | None = None
        self._remote: set[int] = set()
        self._changed: set[int] = set()

    def start(self, send: Callable[[bytes], None]) -> None:
        """Watch the room; `send` sends a message over the link, if there is a connection."""
        self._send = send
        self._subscription = self._awareness.observe(self._observed)

    def stop(self) -> None:
        """Watch no more."""
        if self._subscription is not None:
            self._awareness.unobserve(self._subscription)
            self._subscription = None

    def connected(self) -> None:
        """Tell the other servers who is here."""
        self._changed.update(set(self._awareness.states) - self._remote)
        self._tell_link()

    def disconnected(self) -> None:
        """The others can't be seen any more."""
        gone, self._remote = self._remote & set(self._awareness.states), set()
        self._awareness.remove_awareness_states(list(gone), self)
        self._tell_room_of(gone)

    def show_link(self, state: str, reason: str) -> None:
        """Show in every browser of the room how the link is: it is the one thing that the server says of itself."""
        self._awareness.set_local_state({"link": {"state": state, "reason": reason}})

    def renew(self) -> None:
        """Say it again: a page that was away has forgotten it, and takes nothing that it has heard before."""
        self._awareness.set_local_state(self._awareness.get_local_state())

    def spoken_for(self, update: bytes, *, introduces: bool) -> set[int]:
        """Whom a browser of this room speaks for, by an update that is not applied yet.

        Pages send back all that they are told, so most of what they name is somebody else, and not news.

        Args:
            introduces: it is what the browser says first, which is of itself; perhaps once more, after its connection
                broke, with the clock that it had.

        Raises:
            ProtocolError: it is not an awareness update.
        """
        return {
            state.client_id
            for state in protocol.decode_states(update)
            if state.client_id != self._awareness.client_id
            and (self._comes(state) if introduces else self._is_news(state))
        }

    def _comes(self, state: ClientState) -> bool:
        if state.state is None:
            return False
        self._remote.discard(state.client_id)
        if state.client_id not in self._awareness.states:
            # Else it would not be taken with the clock that it left with.
            self._awareness.meta.pop(state.client_id, None)
        return True

    def _is_news(self, state: ClientState) -> bool:
        known = self._awareness.meta.get(state.client_id)
        return state.client_id not in self._remote and (known is None or state.clock > known["clock"])

    def left(self, clients: set[int]) -> None:
        """A browser of this room has closed: whom it spoke for is gone, for everybody at once."""
        gone = clients & set(self._awareness.states)
        self._awareness.remove_awareness_states(list(gone), "left")
        self._tell_room_of(gone)

    def receive(self, update: bytes) -> None:
        """States came over the link.

        Raises:
            ProtocolError: it is not an awareness update.
        """
        states = [self._of_others(state) for state in protocol.decode_states(update)]
        states = [state for state in states if state.client_id != self._awareness.client_id]
        for state in states:
            if state.state is None:
                self._remote.discard(state.client_id)
            else:
                self._remote.add(state.client_id)
        update = protocol.encode_states(states)
        self._awareness.apply_awareness_update(update, self)
        self._tell_room(protocol.encode_awareness(update))

    @staticmethod
    def _of_others(state: ClientState) -> ClientState:
        """What others may say: nothing of this server's link."""
        if state.state is None or "link" not in state.state:
            return state
        return replace(state, state={name: value for name, value in state.state.items() if name != "link"})

    def last_of(self, username: str) -> dict[str, Any] | None:
        """The state that a user's browsers in this room have told last; None: they have none here."""
        mine = [
            client
            for client, state in self._awareness.states.items()
            if client not in self._remote and _user(state).get("username") == username
        ]
        last = max(mine, key=lambda client: self._awareness.meta[client]["lastUpdated"], default=None)
        return None if last is None else self._awareness.states[last]

    def elsewhere(self) -> list[dict[str, Any]]:
        """The users who are here from other servers, one entry for each of their windows."""
        states = (self._awareness.states.get(client) for client in self._remote)
        return [user for state in states if (user := _user(state))]

    def present(self) -> bytes | None:
        """A message of all states that the room knows, for a browser that has just come; None: there are none."""
        states = [self._state(client) for client in self._awareness.states]
        return protocol.encode_awareness(protocol.encode_states(states)) if states else None

    def _observed(self, topic: str, change: tuple[dict[str, Any], Any]) -> None:
        changes, origin = change
        if topic != "update" or origin is self:
            return
        clients = {client for kind in ("added", "updated", "removed") for client in changes[kind]}
        if self._awareness.client_id in clients:
            # The server's own state is for the browsers here alone.
            clients.discard(self._awareness.client_id)
            self._tell_room_of({self._awareness.client_id})
        if origin == "timeout":
            # Its own server speaks for who is elsewhere; the browsers here must hear it from us.
            self._tell_room_of(clients & self._remote)
            clients -= self._remote
        if clients and not self._changed:
            asyncio.get_running_loop().call_soon(self._tell_link)
        self._changed |= clients
        self._remote -= clients

    def _tell_link(self) -> None:
        changed, self._changed = self._changed - {self._awareness.client_id}, set()
        if changed and self._send is not None:
            states = [self._state(client) for client in changed if client in self._awareness.meta]
            self._send(protocol.encode_awareness(protocol.encode_states(states)))

    def _tell_room_of(self, clients: set[int]) -> None:
        if clients:
            states = [self._state(client) for client in clients]
            self._tell_room(protocol.encode_awareness(protocol.encode_states(states)))

    def _state(self, client: int) -> ClientState:
        return ClientState(client, self._awareness.meta[client]["clock"], self._awareness.states.get(client))


def _user(state: Any) -> dict[str, Any]:
    user = state.get("user") if isinstance(state, dict) else None
    return user if isinstance(user, dict) else {}
