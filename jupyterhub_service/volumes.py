"""Files of shared volumes: who may enter them, and what becomes of a document whose file is moved or deleted.

Who is in one of the Hub's groups that may enter a volume has its files, and so takes part in their documents by opening
them. The Hub is asked who that is (rule 8); and since a folder may hold files that not everybody in the group can
read, a server shows with the digest of the content that it has the file (`_require_file`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row

from jupyter_rtc_amprenta.core import queries_files, queries_participants, queries_people
from jupyter_rtc_amprenta.core.queries_people import NewSession
from jupyter_rtc_amprenta.core.queries_record import Activity, record
from jupyter_rtc_amprenta.core.volumes import SharedVolume, file_key

from .auth import Identity
from .errors import BadRequest, Conflict, Forbidden
from .hub import Hub


class VolumeDoor:
    """Knows who may enter which volume.

    Args:
        volumes: by name; the service needs their groups.
        hub: tells a user's groups.
    """

    def __init__(self, volumes: Mapping[str, SharedVolume], hub: Hub) -> None:
        self._volumes = volumes
        self._hub = hub

    async def require(self, identity: Identity, volume: str) -> None:
        """Refuse who may not enter.

        Raises:
            BadRequest: there is no such volume.
            Forbidden: the user is in none of its groups.
            Unavailable: the Hub does not tell.
        """
        if volume not in self._volumes:
            raise BadRequest("unknown_volume", f"The service knows no shared volume {volume} (RTC_SHARED_VOLUMES).")
        if not await self.lets_in(identity.username, volume):
            raise Forbidden("not_in_group", f"You are in no group that may enter the shared volume {volume}.")

    async def lets_in(self, username: str, volume: str) -> bool:
        """Whether a user is in one of the groups that may enter; nobody is in those of a volume that is not there.

        Raises:
            Unavailable: the Hub does not tell.
        """
        known = self._volumes.get(volume)
        return known is not None and bool(set(known.groups) & set(await self._hub.groups(username)))


def place_of(volume: str) -> str:
    """What the file's row in `document_files` is called on a shared volume."""
    return f"volume:{volume}"


def register_shared(connection: Connection, identity: Identity, new: NewSession, digest: str) -> tuple[str, bool]:
    """The document of a file on a shared volume; whoever opens it takes part in it.

    Returns:
        (document_id, whether it was made now).

    Raises:
        Conflict: nobody knows that the caller has the file.
    """
    document_id, created = queries_people.register_session(connection, new, identity.address)
    if created:
        generation = queries_people.generation_of(connection, document_id)
        queries_files.note_content(connection, document_id, place_of(new.volume), generation, digest)
    elif not queries_participants.is_participant(connection, document_id, new.owner):
        # What `register_session` has changed is taken back with a refusal.
        _require_file(connection, document_id, new, digest)
        queries_participants.add_participant(connection, document_id, new.owner, "read-write", by_group=True)
        record(connection, identity.actor, [Activity(document_id, "opened")])
    return document_id, created


def known_in_home(connection: Connection, new: NewSession, digest: str) -> str | None:
    """The document of a file that another server of the same user and home knows, under a file id of its own."""
    if not digest or queries_people.session_of_file(connection, new) is not None:
        return None
    return queries_files.find_in_home(
        connection, new.owner, new.volume, new.path, new.document_type, digest
    )


def _require_file(connection: Connection, document_id: str, new: NewSession, digest: str) -> None:
    """A path can be guessed, and the group is not asked before a folder's own permissions are: show the content."""
    if digest not in queries_files.recent_digests(connection, document_id, place_of(new.volume)):
        raise Conflict(
            "file_unknown",
            "The file was changed since its document was last saved. Somebody who takes part has to open it first.",
        )


def remove_who_left_the_group(connection: Connection, identity: Identity, document_id: str) -> None:
    """Who came in by a group, and is in none any more, takes part no longer."""
    queries_participants.remove_participant(connection, document_id, identity.username)
    record(connection, identity.actor, [Activity(document_id, "resigned")])


def move_file(connection: Connection, row: Row[Any], path: str) -> None:
    """The file of a document was renamed on its volume, by whoever's server.

    Args:
        row: the session, for the caller (`queries_people.session_for`).
        path: the new one, below the volume.

    Raises:
        Forbidden, BadRequest, Conflict.
    """
    _require_writer(row)
    if not row.shared:
        raise BadRequest("not_shared", "The file is on no shared volume: its own server registers it by its new name.")
    key = file_key(row.file_id.rpartition(":")[0], path)
    if not queries_people.move_file(connection, row.document_id, key, f"{row.volume}/{path}"):
        raise Conflict("path_taken", "Another document has the file of that name.")


def close(connection: Connection, identity: Identity, row: Row[Any]) -> None:
    """The file of a document was deleted: its session is over, for everybody.

    Raises:
        Forbidden: the file is not the caller's to delete.
    """
    if row.shared:
        _require_writer(row)
    elif row.file_owner != identity.username:
        raise Forbidden("file_owner_required", "Only whose file it is can say that it was deleted.")
    queries_people.close_session(connection, row.document_id, f"{identity.username} deleted its file.")
    record(connection, identity.actor, [Activity(row.document_id, "closed")])


def _require_writer(row: Row[Any]) -> None:
    if row.permissions != "read-write":
        raise Forbidden("writer_required", "Only who may write in the document may do this.")
