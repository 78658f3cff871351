"""The doctor: each thing that can be wrong is found for its reason, and what is advised mends it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
from jupyter_server.extension.serverextension import EnableServerExtensionApp
from sqlalchemy import Connection
from sqlalchemy.engine import make_url
from sqlalchemy.schema import CreateTable
from support.logs import Author
from support.stub_site import StubSite
from support.yjs_client import until

from jupyter_rtc_amprenta import cli
from jupyter_rtc_amprenta.core import database as database_module
from jupyter_rtc_amprenta.core.crypto import EncryptionKeys
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.documentlog import DocumentLog
from jupyter_rtc_amprenta.core.logpolicy import LogPolicy
from jupyter_rtc_amprenta.core.schema import LOG_TABLES
from jupyter_rtc_amprenta.core.tokens import new_private_key
from jupyter_rtc_amprenta.doctor import (
    access,
    clocks,
    database,
    encryption,
    extension,
    proxy,
    service,
    variables,
    yjs,
)
from jupyter_rtc_amprenta.doctor.check import Check, Place, Scene
from jupyter_rtc_amprenta.doctor.report import AREAS, as_json, as_text, examine

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

SERVER = {"JUPYTERHUB_USER": "alice", "JUPYTERHUB_API_TOKEN": "t0ken-of-alice"}
LINKED = SERVER | {"JUPYTER_COLLABORATION_YJS_URL": "ws://127.0.0.1:9", "RTC_API_URL": "http://127.0.0.1:9"}


def look(area: ModuleType, environ: dict[str, str], **more: Any) -> dict[str, Check]:
    """The checks of an area, by what they check."""
    return {check.name.partition(".")[2]: check for check in area.checks(Scene(environ=environ, **more))}


def fails(check: Check, detail: str, advice: str) -> None:
    """It failed for this reason, and says this."""
    assert check.ok is False, check
    assert re.search(detail, check.detail), check
    assert re.search(advice, check.advice), check


def execute(url: str, *statements: str) -> None:
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        for statement in statements:
            connection.cursor().execute(statement)
    finally:
        connection.close()


# --- variables -------------------------------------------------------------------------------------------------


def test_a_variable_that_nothing_reads() -> None:
    fails(
        look(variables, {"RTC_TOKEN_SECOND": "60"})["known"],
        "Nothing reads RTC_TOKEN_SECOND",
        "rename RTC_TOKEN_SECOND to RTC_TOKEN_SECONDS",
    )
    fails(look(variables, {"RTC_XQZW": "1"})["known"], "RTC_XQZW", "remove RTC_XQZW")
    assert look(variables, {"RTC_TOKEN_SECONDS": "60"})["known"].ok


@pytest.mark.parametrize(
    ("name", "wrong", "advice", "right"),
    [
        ("RTC_TOKEN_SECONDS", "ten minutes", "must be a number", "600"),
        ("YJS_SERVER_PORT", "99999", "must be a port", "1234"),
        ("JUPYTER_COLLABORATION_YJS_URL", "yjs-server:1234", "must start with ws://", "ws://yjs-server:1234"),
    ],
)
def test_a_value_that_cant_be_understood(name: str, wrong: str, advice: str, right: str) -> None:
    found = look(variables, {name: wrong})
    fails(found["values"], name, f"{name} {advice}")
    # It may be a secret, in the wrong place.
    assert not any(wrong in check.detail + check.advice for check in found.values())
    assert look(variables, {name: right})["values"].ok


def test_what_must_be_set_where() -> None:
    fails(look(variables, SERVER)["set"], "Neither JUPYTER_COLLABORATION_YJS_URL nor", r"Call configure\(c\)")
    half = {name: value for name, value in LINKED.items() if name != "RTC_API_URL"}
    fails(look(variables, half)["set"], "RTC_API_URL is not", "Set RTC_API_URL")
    assert look(variables, LINKED)["set"].ok
    for place in ({"JUPYTERHUB_SERVICE_NAME": "rtc"}, {"YJS_SERVER_PORT": "1234"}):
        fails(look(variables, place)["set"], "No database is configured", "Set RTC_DATABASE_URL, such as")
        assert look(variables, place | {"PGHOST": "postgres"})["set"].ok
    assert look(variables, {})["set"].ok is None


def test_what_contradicts_itself(tmp_path: Path) -> None:
    service_place = {"JUPYTERHUB_SERVICE_NAME": "rtc"}
    spool = tmp_path / "spool"
    wrong: list[tuple[dict[str, str], str, str, dict[str, str]]] = [
        ({"RTC_WEBHOOK_URLS": "https://x/"}, "RTC_WEBHOOK_SECRET is not", "Set it", {"RTC_WEBHOOK_SECRET": "s"}),
        ({"RTC_INVITE_SECONDS": "9999999"}, "is over", "lower", {"RTC_INVITE_SECONDS": "60"}),
        (
            service_place | {"YJS_SERVER_URL": "ws://hub:1234", "YJS_SERVER_PORT": "1235"},
            "names port 1234, and YJS_SERVER_PORT is 1235", "same port", {"YJS_SERVER_PORT": "1234"},
        ),
        (
            {"RTC_DATABASE_URL": "postgresql://a/b", "PGHOST": "c"},
            "name different servers", "Remove the one", {"PGHOST": ""},
        ),
    ]  # fmt: skip
    for environ, detail, advice, mended in wrong:
        fails(look(variables, environ)["consistent"], detail, advice)
        mend = {name: value for name, value in (environ | mended).items() if value}
        assert look(variables, mend)["consistent"].ok
    environ = {"RTC_SPOOL_FOLDER": str(spool)}
    check = look(variables, environ)["consistent"]
    fails(check, "no folder that can be written to", "mkdir -p")
    subprocess.run(check.advice.partition(": ")[2].split(), check=True)
    assert look(variables, environ)["consistent"].ok


def test_secrets_in_a_users_server() -> None:
    bad = LINKED | {"RTC_DATABASE_URL": "postgresql://x/y", "RTC_ENCRYPTION_KEYS": "k:x"}
    fails(look(variables, bad)["secrets"], "RTC_ENCRYPTION_KEYS, RTC_DATABASE_URL", "Remove them from the spawner")
    assert look(variables, LINKED)["secrets"].ok
    assert look(variables, {})["secrets"].ok is None
    # In direct mode the server reads the database itself.
    direct = SERVER | {"RTC_DATABASE_URL": "postgresql://x/y", "RTC_ENCRYPTION_KEYS": "k:x"}
    assert look(variables, direct)["secrets"].ok


# --- database --------------------------------------------------------------------------------------------------


def test_a_database_that_is_well(database_url: str) -> None:
    found = look(database, {"RTC_DATABASE_URL": database_url})
    assert {name: check.ok for name, check in found.items()} == dict.fromkeys(
        ("reachable", "version", "schema", "rights", "index", "size"), True
    )


def test_a_database_that_cant_be_reached(database_url: str) -> None:
    url = make_url(database_url)
    wrong = [
        ({"port": 1}, "refused", "pg_isready -h HOST -p PORT"),
        ({"host": "no-such-host.invalid"}, "could not translate host name", "correct PGHOST"),
        ({"password": "guessed"}, "password authentication failed", "right user and password"),
        ({"database": "nowhere"}, "does not exist", "createdb"),
    ]
    for change, detail, advice in wrong:
        found = look(database, {"RTC_DATABASE_URL": url.set(**change).render_as_string(False)})
        fails(found["reachable"], detail, advice)
        assert found["schema"].ok is None
    found = look(database, {"RTC_DATABASE_URL": "mysql://x"})
    fails(found["reachable"], "not known where", "use postgresql://")
    assert look(database, {})["reachable"].ok is None


def test_a_postgresql_that_is_too_old(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "MINIMUM_SERVER_VERSION", 990000)
    found = look(database, {"RTC_DATABASE_URL": database_url})
    fails(found["version"], "PostgreSQL 13 or newer is needed", "Upgrade PostgreSQL")
    assert (found["reachable"].ok, found["schema"].ok) == (True, None)


def test_a_schema_that_does_not_fit(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    environ = {"RTC_DATABASE_URL": database_url}
    execute(database_url, "UPDATE alembic_version SET version_num = '9999'")
    fails(look(database, environ)["schema"], "newer than this version", "pip install --upgrade")
    execute(database_url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    found = look(database, environ)
    fails(found["schema"], "no schema yet", "^jupyter-rtc migrate$")
    assert found["rights"].ok is None
    assert cli.main([*found["schema"].advice.split()[1:], "--database-url", database_url]) == 0
    assert look(database, environ)["schema"].ok


def test_without_alembic_the_schema_is_left_out(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jupyter_rtc_amprenta.core.migrate", None)
    found = look(database, {"RTC_DATABASE_URL": database_url})
    assert (found["schema"].ok, found["rights"].ok) == (None, True)
    assert "Alembic is not installed" in found["schema"].detail


@pytest.fixture
def poor_url(database_url: str) -> Iterator[str]:
    """The same database as a user who may connect, and no more."""
    name = f"poor_{uuid4().hex[:8]}"
    execute(database_url, f"CREATE ROLE {name} LOGIN PASSWORD 'p4ssw0rd'", f"GRANT SELECT ON alembic_version TO {name}")
    yield make_url(database_url).set(username=name, password="p4ssw0rd").render_as_string(False)
    execute(database_url, f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def test_rights_that_are_missing(database_url: str, poor_url: str) -> None:
    environ = {"RTC_DATABASE_URL": poor_url}
    check = look(database, environ)["rights"]
    fails(check, r"lacks .* ON .* and \d+ more", "GRANT SELECT, INSERT")
    execute(database_url, check.advice)
    assert look(database, environ)["rights"].ok
    role = make_url(poor_url).username
    execute(database_url, f"ALTER ROLE {role} SET default_transaction_read_only = on")
    check = look(database, environ)["rights"]
    fails(check, "takes no writes", "ALTER ROLE")
    execute(database_url, re.search("ALTER ROLE [^(]*", check.advice)[0])
    assert look(database, environ)["rights"].ok


def test_a_function_that_may_not_be_called(database_url: str, poor_url: str) -> None:
    environ = {"RTC_DATABASE_URL": poor_url}
    execute(database_url, look(database, environ)["rights"].advice)
    revoke = "REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM"
    execute(database_url, f"{revoke} PUBLIC", f"{revoke} {make_url(poor_url).username}")
    check = look(database, environ)["rights"]
    fails(check, "lacks EXECUTE ON FUNCTION rtc_append_updates, EXECUTE ON FUNCTION rtc_read_document", "GRANT EXECUTE")
    execute(database_url, check.advice)
    assert look(database, environ)["rights"].ok


def test_indexes_that_are_missing_or_broken(database_url: str) -> None:
    environ = {"RTC_DATABASE_URL": database_url}
    execute(
        database_url,
        "DROP INDEX idx_yjs_documents_updated",
        "DROP INDEX uq_invites_pending",
        "ALTER TABLE yjs_documents DROP CONSTRAINT idx_yjs_documents_id CASCADE",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_audit_created'::regclass",
    )
    check = look(database, environ)["index"]
    fails(check, "idx_yjs_documents_id", "REINDEX INDEX idx_audit_created")
    told = set(re.findall(r"\w+", check.detail))
    assert {"idx_yjs_documents_updated", "uq_invites_pending", "idx_audit_created"} <= told
    execute(database_url, check.advice)
    assert look(database, environ)["index"].ok
    # Looking leaves the tables as they are described in this process.
    assert all("PRIMARY KEY" in str(CreateTable(table)) for table in LOG_TABLES)


async def test_documents_that_should_have_been_compacted(
    database: Any, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    log, author = DocumentLog(database), Author()
    await log.create("text_long")
    for number in range(1100):
        log.append("text_long", author.write(f"{number} "), 1)
    await log.stop()
    environ = {"RTC_DATABASE_URL": database_url}
    assert look_at_database(environ)["size"].ok
    execute(database_url, "UPDATE yjs_documents SET updated_at = now() - interval '1 hour'")
    check = look_at_database(environ)["size"]
    fails(check, "1 documents in .* 1 should have been compacted, such as text_long", "^jupyter-rtc compact")
    arguments = [*check.advice.partition(",")[0].split()[1:], "--database-url", database_url]
    assert await asyncio.to_thread(cli.main, arguments) == 0
    assert look_at_database(environ)["size"].ok


def look_at_database(environ: dict[str, str]) -> dict[str, Check]:
    """Where a fixture has the area's name."""
    return look(database, environ)


# --- encryption ------------------------------------------------------------------------------------------------


def _key(key_id: str) -> str:
    return f"{key_id}:{base64.b64encode(os.urandom(32)).decode()}"


async def _encrypted(url: str, *keys: str) -> None:
    for number, text_of_keys in enumerate(keys):
        database = Database(url)
        log = DocumentLog(database, policy=LogPolicy(keys=EncryptionKeys.parse(text_of_keys)))
        await log.create(f"text_{number}")
        await log.append(f"text_{number}", Author().write("hello"), 1, b"metadata")
        await log.stop()
        database.close()


async def test_encryption_keys(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new, impostor = _key("2025"), _key("2026"), _key("2025")
    await _encrypted(database_url, old, "", new)
    environ = {"RTC_DATABASE_URL": database_url}

    def found(keys: str) -> dict[str, Check]:
        return look(encryption, environ | {"RTC_ENCRYPTION_KEYS": keys})

    fails(found("2026:short")["keys"], "key 1 should look like", "openssl rand -base64 32")
    fails(found(new)["known"], "encrypted with 2025, which RTC_ENCRYPTION_KEYS lacks", "Give back the key")
    fails(found(f"{new},{impostor}")["right"], "can't be decrypted with 2025: it is another key", "Give back the key")
    fails(found("")["known"], "encrypted with 2025, 2026", "Give back")
    assert found("")["keys"].ok is None
    mended = found(f"{new},{old}")
    assert (mended["keys"].ok, mended["known"].ok, mended["right"].ok) == (True, True, True)
    fails(mended["used"], "2 of 3 rows are plain, or encrypted with an older key", "^jupyter-rtc rotate-keys$")
    monkeypatch.setenv("RTC_ENCRYPTION_KEYS", f"{new},{old}")
    arguments = [*mended["used"].advice.split()[1:], "--database-url", database_url]
    assert await asyncio.to_thread(cli.main, arguments) == 0
    assert all(check.ok for check in found(new).values())


# --- the Y.js server -------------------------------------------------------------------------------------------


async def seen(area: ModuleType, environ: dict[str, str], **more: Any) -> dict[str, Check]:
    """As `look`, while the servers of this loop go on."""
    return await asyncio.to_thread(look, area, environ, **more)


@pytest.fixture
def at(database_url: str) -> Callable[..., dict[str, str]]:
    """The environment of whoever runs a Y.js server at a port."""
    return lambda port, **more: {
        "RTC_DATABASE_URL": database_url, "YJS_SERVER_URL": f"ws://127.0.0.1:{port}", **more,
    }  # fmt: skip


async def test_a_yjs_server_that_is_well_and_one_that_has_another_key(
    make_yjs: Any, at: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    yjs_server = await make_yjs()
    await until(lambda: yjs_server.server.replicas.state == "ok")
    mine = at(yjs_server.port, RTC_SIGNING_KEY=new_private_key())
    found = await seen(yjs, mine)
    assert (found["health"].ok, found["websocket"].ok) == (True, True)
    fails(found["token"], "4401 .*key that is not known here", "the same RTC_SIGNING_KEY")
    # As advised: the same key for both.
    from jupyter_rtc_amprenta.core.tokens import Keyring

    yjs_server.server.admission._keyring = lambda: Keyring([mine["RTC_SIGNING_KEY"]])
    assert all(check.ok for check in (await seen(yjs, mine)).values())
    # Without one it is the database's; there is none yet.
    assert (await seen(yjs, at(yjs_server.port)))["token"].ok is None


async def test_a_yjs_server_that_is_not_there(at: Any) -> None:
    found = await seen(yjs, at(1))
    fails(found["health"], "ws://127.0.0.1:1 does not answer: .*refused", "Start it")
    assert (found["websocket"].ok, found["token"].ok) == (None, None)
    assert look(yjs, {})["health"].ok is None


async def test_a_yjs_server_without_its_database_or_bus(make_yjs: Any, at: Any) -> None:
    yjs_server = await make_yjs()
    await until(lambda: yjs_server.server.replicas.state == "ok")
    environ = at(yjs_server.port)
    health = yjs_server.server.health
    yjs_server.server.health = lambda: health() | {"bus": "Redis does not answer."}
    bus = "(degraded|unavailable): bus: Redis does not answer"
    fails((await seen(yjs, environ))["health"], bus, "correct REDIS_URL")
    yjs_server.server.health = lambda: health() | {"log": "failing"}
    fails((await seen(yjs, environ))["health"], "is unavailable: log: failing", "where the Y.js server runs")
    yjs_server.server.health = health
    assert (await seen(yjs, environ))["health"].ok
    yjs_server.server.draining = True
    found = await seen(yjs, environ)
    fails(found["health"], "it is being stopped", "Wait")


def test_what_lies_between_and_does_not_pass_websockets_on(at: Any) -> None:
    with StubSite({"/": {}}) as site:
        port = site.url.rpartition(":")[2]
        fails(look(yjs, at(port))["health"], "no Y.js server of ours: /health answers 404", r"ws://HOST:PORT, without")
        site.answers["/health"] = {"status": "ok", "log": "ok", "database": "ok", "connections": 0, "rooms": 0}
        found = look(yjs, at(port))
        assert found["health"].ok
        fails(found["websocket"], "can't be opened there: 404", "proxy_set_header Upgrade")


# --- the service, the proxy, the extension: what a real Hub can't be made to say -------------------------------


def test_a_service_that_is_not_well() -> None:
    with StubSite({"/health": {"status": "ok", "database": {"status": "ok"}}}) as site:
        environ = LINKED | {"RTC_API_URL": site.url}
        assert look(service, environ)["health"].ok
        trouble = "The database's schema (0001) is older than this version needs: run 'jupyter-rtc migrate'."
        site.answers["/health"] = {"status": "failing", "database": {"status": "failing", "detail": trouble}}
        fails(look(service, environ)["health"], r"failing: .*\(0001\) is older", "^jupyter-rtc migrate$")
        site.answers["/health"] = {"status": "degraded", "database": {"status": "ok"}, "yjs": {"log": "degraded"}}
        fails(look(service, environ)["health"], "degraded: its Y.js server's log is degraded", "service's environment")
        del site.answers["/health"]
        fails(look(service, environ)["health"], "is not the service: /health answers 404", "Correct RTC_API_URL")
    fails(look(service, environ)["health"], "does not answer: .*refused", "Is the Hub running")
    assert look(service, {})["health"].ok is None


def test_a_service_that_the_hub_does_not_know_as_one() -> None:
    with StubSite({"/hub/api/user": {"kind": "service", "name": "rtc", "scopes": ["read:users:name"]}}) as hub:
        environ = {"JUPYTERHUB_SERVICE_NAME": "rtc", "JUPYTERHUB_API_TOKEN": "x"}
        environ["JUPYTERHUB_API_URL"] = f"{hub.url}/hub/api"
        found = look(service, environ)
        assert (found["registered"].ok, found["scopes"].ok) == (True, True)
        hub.answers["/hub/api/user"] = {"kind": "service", "name": "rtc", "scopes": []}
        fails(look(service, environ)["scopes"], "lacks read:users:name", r"configure\(c, …\)")
        hub.answers["/hub/api/user"] = {"kind": "user", "name": "alice", "scopes": []}
        fails(look(service, environ)["registered"], "not a service's", "it gives the token")
        hub.answers["/hub/api/user"] = (403, {})
        fails(look(service, environ)["registered"], "does not know this token any more", "Restart what runs here")
    fails(look(service, environ)["registered"], "does not answer", "JUPYTERHUB_API_URL")


def test_oauth_that_leads_nowhere() -> None:
    with StubSite({}) as site:
        environ = {"RTC_HUB_URL": site.url}
        fails(look(service, environ)["oauth"], "does not send people to the Hub to log in: 404", "configure")
        there = "/hub/api/oauth2/authorize?client_id=service-rtc&redirect_uri="
        site.answers["/services/rtc/"] = (302, {"Location": f"{there}/services/other/oauth_callback"})
        fails(look(service, environ)["oauth"], "back to /services/other/oauth_callback", "prefix")
        site.answers["/services/rtc/"] = (302, {"Location": f"{there}/services/rtc/oauth_callback"})
        assert look(service, environ)["oauth"].ok
    assert look(service, {})["oauth"].ok is None


def test_a_proxy_that_passes_no_websockets_on() -> None:
    with StubSite({"/hub/api/user": {"servers": {"": {"url": "/user/alice/"}}}}) as site:
        found = look(proxy, {"JUPYTERHUB_API_TOKEN": "x", "RTC_HUB_URL": site.url})
        fails(found["websocket"], "/user/alice/api/events/subscribe is not opened: 404", "proxy_set_header Upgrade")
        site.answers["/hub/api/user"] = {"servers": {}}
        assert look(proxy, {"JUPYTERHUB_API_TOKEN": "x", "RTC_HUB_URL": site.url})["websocket"].ok is None
    assert look(proxy, {})["websocket"].ok is None
    assert look(proxy, {"RTC_HUB_URL": site.url})["websocket"].ok is None


def _document(**change: str) -> dict[str, str]:
    return {"path": "a.ipynb", "document_id": "notebook_a", "link": "live", "reason": ""} | change


def test_an_extension_that_is_off_or_not_linked() -> None:
    with StubSite({}) as site:
        environ = LINKED | {"JUPYTERHUB_SERVICE_PREFIX": "/user/alice/"}
        environ["JUPYTERHUB_SERVICE_URL"] = f"{site.url}/user/alice/"
        status = "/user/alice/rtc/status"
        fails(look(extension, environ)["mode"], "/rtc/status does not tell: 404", "extension.enabled")
        site.answers[status] = {"mode": "off", "documents": []}
        fails(look(extension, environ)["mode"], "is off, and the variables ask for linked", "Restart this server")
        offline = _document(link="offline", reason="It does not answer.")
        site.answers[status] = {"mode": "linked", "store": "ok", "documents": [_document(), offline]}
        found = look(extension, environ)
        assert found["mode"].ok
        fails(found["documents"], "1 of 2 are not linked: a.ipynb: It does not answer", "yjs.health")
        site.answers[status]["documents"] = [_document(link="refused", reason="no participant")]
        fails(look(extension, environ)["documents"], "no participant", "its owner invites")
        site.answers[status] |= {"documents": [_document()], "store": "failing"}
        fails(look(extension, environ)["documents"], "local store is failing", "df -h")
        site.answers[status]["store"] = "ok"
        assert look(extension, environ)["documents"].ok


def test_versions_that_were_not_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    assert look(extension, LINKED)["versions"].ok
    true_version = metadata.version
    old = {"jupyter-server-ydoc": "1.0.0"}
    monkeypatch.setattr(metadata, "version", lambda package: old.get(package) or true_version(package))
    fails(
        look(extension, LINKED)["versions"],
        "jupyter-server-ydoc is 1.0.0",
        r"pip install 'jupyter-server-ydoc(>=3\.0\.4,<4|<4,>=3\.0\.4)'",
    )


def test_an_extension_that_is_not_enabled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert look(extension, LINKED)["enabled"].ok
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    disabled = {"jupyter_server_ydoc": False, "jupyter_collaboration": True}
    folder = tmp_path / "jupyter_server_config.d"
    folder.mkdir()
    (folder / "jupyter_server_ydoc.json").write_text(json.dumps({"ServerApp": {"jpserver_extensions": disabled}}))
    check = look(extension, LINKED)["enabled"]
    fails(check, "jupyter_server_ydoc. 'jupyter_collaboration' enables nothing any more", "extension enable --user")
    command = check.advice.partition(";")[0].split()
    assert command[:4] == ["jupyter", "server", "extension", "enable"]
    enable = EnableServerExtensionApp()
    enable.initialize(command[4:])
    enable.start()
    assert look(extension, LINKED)["enabled"].ok


# --- clocks ----------------------------------------------------------------------------------------------------


async def test_clocks_that_differ(make_yjs: Any, at: Any) -> None:
    yjs_server = await make_yjs()
    with StubSite({"/hub/api": {}}, date=time.time() + 60) as hub:
        environ = at(yjs_server.port, JUPYTERHUB_API_URL=f"{hub.url}/hub/api", RTC_API_URL=hub.url)
        found = await seen(clocks, environ)
        assert (found["database"].ok, found["yjs"].ok) == (True, True)
        for part in ("hub", "service"):
            fails(found[part], r"differ by (59|60) s", "timedatectl set-ntp true")
        for here in (-60, 60):
            found = await seen(clocks, environ, clock=lambda here=here: time.time() + here)
            for part in ("database", "yjs"):
                fails(found[part], r"differ by (59|60|61) s", "NTP")
        hub.date = time.time()
        assert all(check.ok for check in (await seen(clocks, environ)).values())
    assert look(clocks, {"YJS_SERVER_URL": "ws://127.0.0.1:1"})["yjs"].ok is None


# --- who may enter ---------------------------------------------------------------------------------------------


async def test_who_may_enter(yjs: Any, database_url: str) -> None:
    document_id = await yjs.document("alice", bob="read-only")
    environ = {"RTC_DATABASE_URL": database_url}

    def asked(**named: str) -> dict[str, Check]:
        return look(access, environ, **named)

    fails(asked(document="text_none")["document"], "no document text_none", "jupyter-rtc restore")
    found = asked(document=document_id, user="carol")
    assert found["document"].ok and "alice's" in found["document"].detail
    fails(found["user"], "carol is no participant", "alice invites carol")
    await yjs.database.run(_let_in, document_id, "carol")
    assert asked(document=document_id, user="carol")["user"].ok
    assert "read-only" in asked(document=document_id, user="bob")["user"].detail
    assert asked() == {}


def _let_in(connection: Connection, document_id: str, user: str) -> None:
    from jupyter_rtc_amprenta.core import queries_participants, queries_people

    queries_people.remember_user(connection, user)
    queries_participants.add_participant(connection, document_id, user, "read-write")


# --- the whole -------------------------------------------------------------------------------------------------


def test_where_it_runs() -> None:
    assert [
        Scene(environ=environ).place
        for environ in (SERVER, {"JUPYTERHUB_SERVICE_NAME": "rtc"}, {"YJS_SERVER_PORT": "1"}, {})
    ] == [Place.SERVER, Place.SERVICE, Place.YJS_SERVER, Place.OPERATOR]
    # A linked server has no database, and needs none: that is no fault.
    found = {check.name: check for check in examine(Scene(environ=LINKED))}
    assert {found[f"database.{name}"].ok for name in ("reachable", "schema", "rights", "index")} == {None}
    assert found["encryption.keys"].ok is None


def test_no_secret_is_shown(database_url: str) -> None:
    secrets = {
        "RTC_ENCRYPTION_KEYS": _key("k1"),
        "RTC_SIGNING_KEY": new_private_key().replace("\n", "\\n"),
        "RTC_WEBHOOK_SECRET": "wh00k-secret",
        "RTC_JWT_ISSUERS": '[{"issuer": "https://x", "secret": "issuers-secret"}]',
        "JUPYTERHUB_API_TOKEN": "hub-t0ken",
        "PGPASSWORD": "pg-passw0rd",
        "REDIS_URL": "redis://:redis-passw0rd@r:6379",
        "RTC_DATABASE_URL": make_url(database_url).set(password="url-passw0rd").render_as_string(False),
    }
    words = ["wh00k", "issuers-secret", "hub-t0ken", "passw0rd", secrets["RTC_ENCRYPTION_KEYS"][3:], "PRIVATE KEY"]
    for place in (SERVER | secrets, LINKED | secrets, secrets, {"JUPYTERHUB_SERVICE_NAME": "rtc"} | secrets):
        for more in ({}, {"RTC_SIGNING_KEY": "hub-t0ken"}, {"RTC_ENCRYPTION_KEYS": "hub-t0ken"}):
            shown = as_json(list(examine(Scene(environ=place | more))))
            assert not [word for word in words if word in shown]


def test_a_fault_of_the_doctors_own_leaves_the_other_areas(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(scene: Scene) -> Iterator[Check]:
        raise RuntimeError("secret")

    monkeypatch.setattr(variables, "checks", broken)
    found = list(examine(Scene(environ=LINKED)))
    assert (found[0].name, found[0].ok) == ("variables.doctor", False) and "secret" not in found[0].detail
    assert len({check.name.partition(".")[0] for check in found}) == len(AREAS) - 1


def test_the_command(
    database_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        if name.startswith(("RTC_", "PG", "JUPYTERHUB", "POSTGRES", "YJS")):
            monkeypatch.delenv(name)

    def run(*arguments: str) -> tuple[int, str]:
        code = cli.main(["doctor", "--database-url", database_url, *arguments])
        out, err = capsys.readouterr()
        assert not err
        return code, out

    code, out = run("--json")
    checks = json.loads(out)["checks"]
    assert code == 0 and {frozenset(check) for check in checks} == {frozenset({"name", "ok", "detail", "advice"})}
    assert len({check["name"] for check in checks}) == len(checks) > 25
    execute(database_url, "DROP INDEX idx_yjs_documents_updated")
    code, out = run()
    assert code == 1 and "\033" not in out
    assert re.search(r"^  FAIL  index +Missing or not valid: idx_yjs_documents_updated\.$", out, re.MULTILINE)
    made = r"^ +-> CREATE INDEX idx_yjs_documents_updated ON yjs_documents \(updated_at\);$"
    assert re.search(made, out, re.MULTILINE)
    assert out.rstrip().splitlines()[-1].endswith("can't be told from here.")


def test_on_a_terminal_it_is_coloured_and_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = as_text(Check("a.b", False, "word " * 20, "do " * 30), None, on_terminal=True, coloured=True)
    assert "\033[1;31mFAIL\033[0m" in shown
    assert all(len(re.sub(r"\033\[[\d;]*m", "", line)) <= 80 for line in shown.splitlines())
