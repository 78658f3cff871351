"""The database: whether it answers, is new enough, has the schema, the rights and the indexes, and how large it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

from sqlalchemy.engine import URL

from ..core import queries_doctor
from ..core.database import Database
from ..core.errors import ConfigurationError, DatabaseError, SchemaMismatch
from ..core.settings import service_database_url
from .check import Check, Scene

# A document that is edited is compacted at half of these (`core/compactor.py`), and was left alone for so long.
_OVERDUE_UPDATES = 1000
_OVERDUE_BYTES = 2**21
_OVERDUE_SECONDS = 300.0
_NAMES = ("reachable", "version", "schema", "rights", "index", "size")


def of(scene: Scene) -> Database:
    """The database that is configured here.

    Raises:
        ConfigurationError: none is, or its URL can't be understood.
    """
    return Database(scene.given_database_url or service_database_url(scene.environ), threads=1)


def why_not(scene: Scene) -> str:
    """Why nothing can be asked of the database here; "" where it can."""
    if scene.is_linked:
        return "A user's server has no credentials for the database, and needs none."
    try:
        with closing(of(scene)) as database:
            database.call(queries_doctor.clock)
    except (ConfigurationError, DatabaseError):
        return "The database can't be asked; see database.reachable."
    return ""


def checks(scene: Scene) -> Iterator[Check]:
    """The checks of this area."""
    if scene.is_linked:
        yield from (Check(f"database.{name}", None, why_not(scene)) for name in _NAMES)
        return
    try:
        database = of(scene)
    except ConfigurationError as error:
        yield from _not_configured(scene, error)
        return
    with closing(database):
        yield from _of_database(database)


def _not_configured(scene: Scene, error: ConfigurationError) -> Iterator[Check]:
    if scene.has_database_url:
        yield Check("database.reachable", False, "It is not known where the database is.", str(error))
    else:
        yield Check("database.reachable", None, "No database is configured here; see variables.set.")
    yield from _not_asked(_NAMES[1:])


def _not_asked(names: tuple[str, ...]) -> Iterator[Check]:
    return (Check(f"database.{name}", None, "The database can't be asked; see above.") for name in names)


def _of_database(database: Database) -> Iterator[Check]:
    place = _named(database.url)
    try:
        version = database.call(queries_doctor.server_version)
    except ConfigurationError as error:
        yield Check("database.reachable", True, f"{place} answers.")
        yield Check("database.version", False, str(error), "Upgrade PostgreSQL: pg_upgrade, or dump into a newer one.")
        yield from _not_asked(_NAMES[2:])
        return
    except DatabaseError as error:
        yield _unreachable(place, error)
        yield from _not_asked(_NAMES[1:])
        return
    yield Check("database.reachable", True, f"{place} answers.")
    yield Check("database.version", True, f"PostgreSQL {version}; 13 or newer is needed.")
    schema = _schema(database)
    yield schema
    for name, check in (("rights", _rights), ("index", _index), ("size", _size)):
        if schema.ok is False:
            yield Check(f"database.{name}", None, "The schema does not fit; see above.")
        else:
            yield _asked(f"database.{name}", check, database)


def _asked(name: str, check: Callable[[Database], Check], database: Database) -> Check:
    try:
        return check(database)
    except DatabaseError as error:
        advice = "Mend database.rights first, and ask again."
        return Check(name, False, f"It could not be asked: {_words(error)}", advice)


def _named(url: URL) -> str:
    """The database without its password, or anything else that its URL may hold."""
    host = url.host or url.query.get("host") or "localhost"
    return f"The database {url.database} at {host}:{url.port or 5432}, as {url.username or 'the default user'},"


def _words(error: DatabaseError) -> str:
    """What the driver says, in its first line."""
    cause = error.__cause__
    words = str(getattr(cause, "orig", None) or cause or error).strip().splitlines()
    return words[0] if words else str(error)


_ADVICE = (
    ("password authentication failed", "Give the right user and password (PGUSER, PGPASSWORD or RTC_DATABASE_URL)."),
    ("no password supplied", "Give the password: PGPASSWORD, or in RTC_DATABASE_URL."),
    ("does not exist", "Make it: createdb, or CREATE DATABASE … OWNER …; or give the right name (PGDATABASE)."),
    ("no pg_hba.conf entry", "Let this host in: a line in PostgreSQL's pg_hba.conf, then SELECT pg_reload_conf()."),
    ("could not translate host name", "The name is not known here: correct PGHOST, or join the database's network."),
    ("too many", "Its connections are used up: raise max_connections, or run fewer processes."),
    ("starting up", "It is starting: ask again in a moment."),
)
_START = "Start it, or correct PGHOST and PGPORT (or RTC_DATABASE_URL); then: pg_isready -h HOST -p PORT"


def _unreachable(place: str, error: DatabaseError) -> Check:
    words = _words(error)
    advice = next((advice for sign, advice in _ADVICE if sign in words), _START)
    return Check("database.reachable", False, f"{place} can't be used: {words}", advice)


def _schema(database: Database) -> Check:
    try:
        # A single-user installation has no Alembic.
        from ..core.migrate import require_current
    except ImportError:
        return Check("database.schema", None, "Alembic is not installed here, which knows the revisions.")
    try:
        revision = database.call(require_current)
    except SchemaMismatch as error:
        advice = (
            "pip install --upgrade 'jupyter-rtc-amprenta[service]'" if "newer" in str(error) else "jupyter-rtc migrate"
        )
        return Check("database.schema", False, str(error), advice)
    except DatabaseError as error:
        advice = "Let the user read it: GRANT USAGE ON SCHEMA public and SELECT ON alembic_version to it."
        return Check("database.schema", False, f"It can't be read: {_words(error)}", advice)
    return Check("database.schema", True, f"The schema is at revision {revision}, as this version needs.")


def _rights(database: Database) -> Check:
    name, user = "database.rights", database.call(queries_doctor.user_name)
    if not database.call(queries_doctor.is_writable):
        return Check(
            name, False, "It takes no writes: it is a standby, or was made read-only.",
            f"Point at the primary, or: ALTER ROLE {user} RESET default_transaction_read_only (and of the database).",
        )  # fmt: skip
    missing = database.call(queries_doctor.missing_rights)
    if missing:
        more = "" if len(missing) < 4 else f" and {len(missing) - 3} more"
        return Check(
            name, False, f"{user} lacks {', '.join(missing[:3])}{more}.",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {user}; "
            f"GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA public TO {user}; "
            f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO {user};",
        )  # fmt: skip
    return Check(name, True, f"{user} may read and write every table.")


def _index(database: Database) -> Check:
    missing = database.call(queries_doctor.missing_indexes)
    if missing:
        return Check(
            "database.index", False, f"Missing or not valid: {', '.join(missing)}.", " ".join(missing.values())
        )
    return Check("database.index", True, "idx_yjs_documents_id, idx_yjs_documents_updated and the others are there.")


def _size(database: Database) -> Check:
    size = database.call(queries_doctor.size)
    overdue = database.call(queries_doctor.overdue, _OVERDUE_UPDATES, _OVERDUE_BYTES, _OVERDUE_SECONDS)
    much = f"{size.documents} documents in {_megabytes(size.bytes)}; the largest has {_megabytes(size.largest)}."
    if overdue:
        detail = f"{much} {len(overdue)} should have been compacted, such as {overdue[0]}."
        return Check("database.size", False, detail, "jupyter-rtc compact, which says why one can't be")
    return Check("database.size", True, much)


def _megabytes(size: int) -> str:
    return f"{size / 2**20:.1f} MB"
