"""Every error this project raises on purpose.

    RtcError
    ├── ConfigurationError          a variable or option is wrong; says which and what it should be
    ├── DatabaseError
    │   ├── DatabaseUnavailable     it did not answer: nothing is known, try again
    │   │   └── DatabaseFull        it can't write: its disk is full, or a quota is used up
    │   ├── SchemaMismatch          its schema is older or newer than this code
    │   └── EncryptionError         what it holds can't be decrypted with the keys that are configured
    ├── DocumentError
    │   ├── DocumentNotFound        the database answered, and has no such document
    │   ├── GenerationChanged       the document was reset; the writer holds an older generation
    │   ├── HistoryReplaced         this server holds another history than the document's
    │   ├── HistoryCompacted        the state at that position is not kept any more
    │   ├── VersionNotFound         the document has no such version
    │   ├── DocumentLeased          another server writes this document (direct mode)
    │   ├── LeaseLost               another server has taken the document over (direct mode)
    │   ├── DocumentTooLarge        over RTC_MAX_DOCUMENT_BYTES
    │   ├── FileHeld                another server saves the file of this document
    │   └── FileChanged             the file holds what none of its servers wrote
    ├── ContentError                a file's content is not of its type's form
    ├── ProtocolError               a frame is no y-websocket message
    │   └── DocumentBroken          pycrdt failed in the middle of an update: the document in memory can't be trusted
    ├── TokenError                  a token is malformed, expired, or not for this audience
    ├── BackupError                 a backup can't be made, read, or restored here; says what to do
    ├── LogFull                     too much waits for the database; nothing more is taken in
    ├── DemoError                   the demo can't start (`demo/errors.py`)
    └── ServiceError                the Hub service or the Y.js server refused; carries status and code
        └── ServiceUnavailable      it did not answer: nothing is known, try again

The first line of each docstring is fit to be shown to a person.
"""

from __future__ import annotations


class RtcError(Exception):
    """Something went wrong in Amprenta RTC."""


class ConfigurationError(RtcError):
    """A setting is wrong."""


class DatabaseError(RtcError):
    """The database refused."""


class DatabaseUnavailable(DatabaseError):
    """The database does not answer."""


class DatabaseFull(DatabaseUnavailable):
    """The database can't write: its disk is full, or a quota is used up."""


class SchemaMismatch(DatabaseError):
    """The database's schema does not fit this version of the code."""


class EncryptionError(DatabaseError):
    """What the database holds can't be decrypted with the keys that are configured."""


class DocumentError(RtcError):
    """The document can't be used this way."""


class DocumentNotFound(DocumentError):
    """There is no such document."""


class GenerationChanged(DocumentError):
    """The document was reset since this history began."""


class HistoryReplaced(DocumentError):
    """This server's history of the document is not the document's; it is opened anew."""


class HistoryCompacted(DocumentError):
    """The document's state at that position is not kept any more."""


class VersionNotFound(DocumentError):
    """The document has no such version."""


class DocumentLeased(DocumentError):
    """Another server writes this document."""


class LeaseLost(DocumentError):
    """Another server writes this document now."""


class DocumentTooLarge(DocumentError):
    """The document is over its size limit."""


class FileHeld(DocumentError):
    """Another server saves the file."""


class FileChanged(DocumentError):
    """The file holds what none of its servers wrote."""


class ContentError(RtcError):
    """The content is not of the form that its file type asks for."""


class ProtocolError(RtcError):
    """The frame is not a y-websocket message."""


class DocumentBroken(ProtocolError):
    """The update can't be applied, and has broken the document in memory: it must be loaded anew."""


class TokenError(RtcError):
    """The token is not valid here."""


class BackupError(RtcError):
    """The backup can't be used."""


class LogFull(RtcError):
    """Too many edits wait for the database; no more are taken until it answers."""


class ServiceError(RtcError):
    """The collaboration service refused the request.

    Attributes:
        status: the HTTP status of the answer, 0 where there was none.
        code: the stable, machine-readable code of the answer, or "".
        detail: what the answer said, for people; without the place that gave it.
    """

    def __init__(self, message: str, status: int = 0, code: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.detail = detail or message


class ServiceUnavailable(ServiceError):
    """The collaboration service does not answer."""
