"""The encryption keys: whether they can be read, are all that is needed, are the right ones, and are used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from sqlalchemy import Connection

from ..core import queries_doctor
from ..core.crypto import EncryptionKeys
from ..core.database import Database
from ..core.errors import ConfigurationError, DatabaseError, EncryptionError
from ..core.queries_backup import opened
from . import database as database_checks
from .check import Check, Scene

_HELD = "Give back the key of that id, in RTC_ENCRYPTION_KEYS of every process, from where you keep your secrets."


def checks(scene: Scene) -> Iterator[Check]:
    """The checks of this area."""
    names = ("known", "right", "used")
    if scene.is_linked:
        reason = "A user's server has no keys, and needs none."
        yield from (Check(f"encryption.{name}", None, reason) for name in ("keys", *names))
        return
    try:
        keys = EncryptionKeys.parse(scene.settings.encryption_keys)
    except ConfigurationError as error:
        what, _, advice = str(error).partition(". ")
        yield Check("encryption.keys", False, f"{what}.", f"{advice}, and write it as 2026-01:<that>.")
        yield from (Check(f"encryption.{name}", None, "The keys can't be read; see above.") for name in names)
        return
    yield _keys(keys)
    if reason := database_checks.why_not(scene):
        yield from (Check(f"encryption.{name}", None, reason) for name in names)
        return
    with closing(database_checks.of(scene)) as database:
        try:
            yield from _rows(database, keys)
        except DatabaseError:
            yield from (Check(f"encryption.{name}", None, "The log can't be read; see database.*") for name in names)


def _keys(keys: EncryptionKeys) -> Check:
    if not keys:
        return Check(
            "encryption.keys", None, "RTC_ENCRYPTION_KEYS is not set: documents are not encrypted in PostgreSQL.",
            'To encrypt them: RTC_ENCRYPTION_KEYS="2026-01:$(openssl rand -base64 32)" for every process.',
        )  # fmt: skip
    return Check("encryption.keys", True, f"They can be read; new rows are encrypted with {keys.key_id}.")


def _rows(database: Database, keys: EncryptionKeys) -> Iterator[Check]:
    rows = database.call(queries_doctor.rows_by_key)
    used = sorted(key_id for key_id in rows if key_id is not None)
    lacking = [key_id for key_id in used if key_id not in keys.key_ids]
    if lacking:
        detail = f"Rows are encrypted with {', '.join(lacking)}, which RTC_ENCRYPTION_KEYS lacks."
        yield Check("encryption.known", False, detail, _HELD)
    else:
        yield Check("encryption.known", True, f"Every row's key is known ({', '.join(used) or 'none is encrypted'}).")
    wrong = [key_id for key_id in used if key_id not in lacking and not database.call(_opens, key_id, keys)]
    if wrong:
        detail = f"Rows can't be decrypted with {', '.join(wrong)}: it is another key of that id."
        yield Check("encryption.right", False, detail, _HELD)
    else:
        yield Check("encryption.right", True, "What is encrypted can be decrypted: a row of each key was tried.")
    yield _used(keys, rows)


def _opens(connection: Connection, key_id: str, keys: EncryptionKeys) -> bool:
    try:
        for table, row in queries_doctor.sample_of_key(connection, key_id):
            opened(table, row._mapping, keys)
    except EncryptionError:
        return False
    return True


def _used(keys: EncryptionKeys, rows: dict[str | None, int]) -> Check:
    if not keys:
        return Check("encryption.used", None, "There is no key to encrypt with.")
    others = sum(count for key_id, count in rows.items() if key_id != keys.key_id)
    if others:
        detail = f"{others} of {sum(rows.values())} rows are plain, or encrypted with an older key."
        return Check("encryption.used", False, detail, "jupyter-rtc rotate-keys")
    return Check("encryption.used", True, f"All {sum(rows.values())} rows are encrypted with {keys.key_id}.")
