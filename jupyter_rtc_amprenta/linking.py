"""What all linked rooms of one server share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .client import ServiceClient
from .core.settings import Settings
from .localstore import LocalStore
from .mounts import Mounts

if TYPE_CHECKING:
    from .rooms import LinkedRoom


@dataclass
class Linking:
    """What the linked rooms of one server have in common.

    Attributes:
        settings: of this server.
        mounts: where the files lie.
        store: the local store.
        client: of the service and the Y.js server.
        contents_manager: gives the server's contents manager, once it is there.
        owner: the Hub user whose server this is.
        on_clients: called when somebody enters or leaves a room.
        on_moves: called when the owner moves, or edits.
        id_is_gone: whether a file id names no file any more.
        joining: held by who puts a shared document among the files: two would put it there twice.
        forget_tabs: after this, tabs of before are asked to reload when they come back.
        tabs_session: what tabs of now name as their session.
        follow_move: tells the server's records of file ids that a file has another path.
        delete_room: takes a room out of jupyter-collaboration's list, and stops it.
        rooms: the open ones, by room id.
    """

    settings: Settings
    mounts: Mounts
    store: LocalStore
    client: ServiceClient
    contents_manager: Callable[[], Any]
    owner: str
    on_clients: Callable[[], None]
    on_moves: Callable[[], None]
    id_is_gone: Callable[[str], bool]
    joining: asyncio.Lock
    forget_tabs: Callable[[], None]
    tabs_session: Callable[[], str]
    follow_move: Callable[[str, str], None]
    delete_room: Callable[[LinkedRoom], Awaitable[None]]
    rooms: dict[str, LinkedRoom]
