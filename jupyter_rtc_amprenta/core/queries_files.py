"""The SQL on files that several servers have: who saves one, and what it holds. The connection comes first.

A place is a shared volume, or a home that several servers of one user share; a document has one file there. What is
written here is the claim on the file: that a content is about to be written, or that a change made outside was taken
into the log. Each is made once, whoever asks (rule 2), since it changes the row that it is checked against.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from . import queries
from .crypto import PLAIN, EncryptionKeys
from .errors import DocumentError, FileChanged, FileHeld, RtcError
from .queries import Pending
from .schema import document_files, participants, sessions

_MOST_RECENT = 16
# Of one document: a home of every participant, at most.
_MOST_PLACES = 10_000


@dataclass(frozen=True)
class Shown:
    """A content of the file, and the document that it shows.

    Attributes:
        digest: of the content, see `content.digest`.
        snapshot: the document's state, as a Yjs snapshot; None: not known.
    """

    digest: str
    snapshot: bytes | None


@dataclass(frozen=True)
class Claim:
    """Who wants to do something with the file, and what it was found to hold.

    Attributes:
        document_id, place, generation: which file, of which history of the document.
        holder: the server process that asks; `holder_name` for people.
        lease_seconds: for how long it then is the one that saves.
        found: the digest of what the file holds now.
        path: where in a home; "" on a volume.
    """

    document_id: str
    place: str
    generation: int
    holder: str
    holder_name: str
    lease_seconds: float
    found: str
    path: str = ""


def known_contents(connection: Connection, document_id: str, place: str, generation: int) -> list[Shown]:
    """What the file may hold that one of the servers wrote or took in: the last content, and the one before."""
    row = connection.execute(_file(document_id, place)).one_or_none()
    return [] if row is None or row.generation != generation else _contents(row)


def recent_digests(connection: Connection, document_id: str, place: str) -> set[str]:
    """The digests of what the file held lately; empty where nothing is known."""
    row = connection.execute(_file(document_id, place)).one_or_none()
    return set() if row is None else set(row.recent.split())


def find_in_home(
    connection: Connection, username: str, home_id: str, path: str, document_type: str, digest: str
) -> str | None:
    """The document of a file that another server of the user's has opened in the same home.

    Args:
        path: where it lies there: a copy elsewhere is another document.
        digest: of what it holds; a new file of an old name is another document too.
    """
    query = (
        select(document_files.c.document_id, document_files.c.recent)
        .join(sessions, sessions.c.document_id == document_files.c.document_id)
        .join(participants, participants.c.document_id == document_files.c.document_id)
        .where(
            document_files.c.place == f"home:{username}:{home_id}",
            document_files.c.path == path,
            sessions.c.document_type == document_type,
            sessions.c.closed_at.is_(None),
            participants.c.username == username,
        )
    )
    rows = connection.execute(query).all()
    return next((row.document_id for row in rows if digest in row.recent.split()), None)


def claim_save(connection: Connection, claim: Claim, new: Shown, *, accounted_for: bool = False) -> None:
    """Before the file is written: become the one that saves, and say what it will hold.

    Args:
        accounted_for: what the file holds is in the document, or kept as a copy: it may be overwritten.

    Raises:
        FileHeld: another server saves it.
        FileChanged: the file holds what none of the servers wrote: that must be taken in first.
    """
    row = _locked(connection, claim)
    found = next((known for known in _contents(row) if known.digest == claim.found), None)
    if found is None and row.digest is not None and not accounted_for:
        raise FileChanged("The file holds what none of its servers wrote.")
    _write(connection, claim, new, found or Shown(claim.found, None), row.recent)


def claim_change(
    connection: Connection,
    claim: Claim,
    base: str,
    new: Shown,
    update_: bytes,
    keys: EncryptionKeys = PLAIN,
    max_document_bytes: int = 0,
) -> int:
    """Take a change that was made outside into the log, once; the file holds it already.

    Args:
        base: the digest of the content that it was made on.
        new: what the file holds now, and the document that it shows.
        update_: the change, as a Yjs update of the document at that base.

    Returns:
        the log's position.

    Raises:
        FileHeld: another server saves it.
        FileChanged: it was taken in already, or the base is another one by now.
        DocumentNotFound, GenerationChanged, DocumentTooLarge: see `queries.append`.
    """
    row = _locked(connection, claim)
    known = {shown.digest for shown in _contents(row)}
    if (known and base not in known) or row.digest == new.digest:
        raise FileChanged("The file's last content is another one by now.")
    writer = f"file{claim.holder[:24]}"
    number = queries.written_by(connection, claim.document_id, writer) + 1
    pending = Pending(claim.document_id, claim.generation, writer, number, update_)
    outcome = queries.append(connection, [pending], keys, max_document_bytes)[claim.document_id]
    if isinstance(outcome, RtcError):
        raise outcome
    _write(connection, claim, new, new, row.recent)
    return outcome[0]


def note_written(connection: Connection, document_id: str, place: str, holder: str, digest: str) -> None:
    """The content that was claimed is in the file: from now on the one before is a change made outside, too."""
    mine = update(document_files).filter_by(document_id=document_id, place=place, holder=holder, digest=digest)
    before = {"previous_digest": document_files.c.digest, "previous_snapshot": document_files.c.snapshot}
    connection.execute(mine.values(before))


def release(connection: Connection, document_id: str, place: str, holder: str) -> None:
    """Save the file no longer: another server may at once."""
    mine = update(document_files).filter_by(document_id=document_id, place=place, holder=holder)
    connection.execute(mine.values(expires_at=None, holder=None))


def note_content(connection: Connection, document_id: str, place: str, generation: int, digest: str) -> None:
    """The file that a document was made from holds this; where more is known already, that stays."""
    values = {"document_id": document_id, "place": place, "generation": generation, "recent": digest}
    connection.execute(upsert(document_files).values(values).on_conflict_do_nothing())


def _file(document_id: str, place: str) -> Any:
    return select(document_files).filter_by(document_id=document_id, place=place)


def _contents(row: Row[Any]) -> list[Shown]:
    pairs = ((row.digest, row.snapshot), (row.previous_digest, row.previous_snapshot))
    return [Shown(digest, None if state is None else bytes(state)) for digest, state in pairs if digest is not None]


def _locked(connection: Connection, claim: Claim) -> Row[Any]:
    """The file's row, locked, which is the claimant's to change.

    Raises:
        FileHeld: another one saves the file.
    """
    key = {"document_id": claim.document_id, "place": claim.place}
    _make_row(connection, key, claim.generation)
    is_held = document_files.c.expires_at > func.clock_timestamp()
    query = select(document_files, is_held.label("is_held")).filter_by(**key).with_for_update()
    row = connection.execute(query).one()
    if row.is_held and row.holder != claim.holder:
        raise FileHeld(f"The file is saved by {row.holder_name}.")
    if row.generation != claim.generation:
        # Nothing that was written down of another history is a base for this one.
        nothing = dict.fromkeys(("digest", "snapshot", "previous_digest", "previous_snapshot"))
        connection.execute(
            update(document_files).filter_by(**key).values(nothing | {"generation": claim.generation})
        )
        row = connection.execute(query).one()
    return row


def _make_row(connection: Connection, key: dict[str, str], generation: int) -> None:
    made = upsert(document_files).values(key | {"generation": generation}).on_conflict_do_nothing()
    if connection.execute(made).rowcount:
        of_document = select(func.count()).select_from(document_files).filter_by(document_id=key["document_id"])
        if connection.execute(of_document).scalar_one() > _MOST_PLACES:
            raise DocumentError("The document has files in too many places.")


def _write(connection: Connection, claim: Claim, new: Shown, previous: Shown, recent: str) -> None:
    digests = [digest for digest in recent.split() if digest not in (new.digest, previous.digest)]
    values = {
        "holder": claim.holder,
        "holder_name": claim.holder_name,
        "path": claim.path,
        "expires_at": func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, claim.lease_seconds),
        "digest": new.digest,
        "snapshot": new.snapshot,
        "previous_digest": previous.digest,
        "previous_snapshot": previous.snapshot,
        "recent": " ".join([*digests, previous.digest, new.digest][-_MOST_RECENT:]),
    }
    key = {"document_id": claim.document_id, "place": claim.place}
    connection.execute(update(document_files).filter_by(**key).values(values))
