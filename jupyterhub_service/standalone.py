"""What the command line runs beside the Hub: the Y.js server alone, and tokens for operators."""

from __future__ import annotations

import asyncio
import logging
import signal

from sqlalchemy import Connection

from jupyter_rtc_amprenta.core import queries_open, queries_participants, queries_people
from jupyter_rtc_amprenta.core.content import document_type
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.keyring import load_keyring
from jupyter_rtc_amprenta.core.migrate import require_current
from jupyter_rtc_amprenta.core.queries_people import NewSession
from jupyter_rtc_amprenta.core.settings import Settings

from .runtime import settle
from .watch import DatabaseWatch
from .yjs_server import YjsServer

log = logging.getLogger(__name__)

# Documents that were registered by hand lie in no user's home.
_VOLUME = "operator"


async def serve_yjs(settings: Settings, database_url: str) -> None:
    """Run the Y.js server until SIGTERM or SIGINT; it listens first, and waits for the database.

    Raises:
        ConfigurationError: the URL can't be understood.
        OSError: the port is taken.
    """
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    database = Database(database_url)
    watch = DatabaseWatch(database, settings.signing_key)
    server = YjsServer(settings, database, watch.keyring)
    await server.start()
    log.info("The Y.js server listens at ws://%s:%d", settings.yjs_server_host, settings.yjs_server_port)
    watching = asyncio.create_task(watch.run())
    settle()
    await stopping.wait()
    log.info("Draining.")
    await server.stop()
    watching.cancel()
    database.close()


def issue_token(
    settings: Settings, database_url: str, username: str, document_id: str, permissions: str, seconds: float
) -> str:
    """A document token; the document is registered where there is none, and the user let in.

    Raises:
        ConfigurationError, DatabaseError.
    """
    database = Database(database_url, threads=1)
    try:
        return database.call(_issue, settings.signing_key, username, document_id, permissions, seconds)
    finally:
        database.close()


def _issue(
    connection: Connection, signing_key: str, username: str, document_id: str, permissions: str, seconds: float
) -> str:
    require_current(connection)
    queries_people.remember_user(connection, username)
    if not queries_people.session_exists(connection, document_id):
        kind = document_type("notebook" if document_id.startswith("notebook") else "file", document_id)
        new = NewSession(document_id, username, _VOLUME, document_id, kind, document_id, document_id)
        queries_people.register_session(connection, new)
    queries_participants.add_participant(connection, document_id, username, permissions)
    if permissions == "read-write":
        queries_participants.change_permissions(connection, document_id, username, permissions)
    generation = queries_open.document_rights(connection, [document_id]).generations[document_id]
    keyring = load_keyring(connection, signing_key)
    return keyring.document_token(username, document_id, permissions, generation, seconds)
