"""The service as a process: it listens first, tells what is wrong, heals by itself, and ends when it is told to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from jupyter_rtc_amprenta.core import migrate
from jupyter_rtc_amprenta.core.tokens import Keyring, new_private_key
from jupyter_rtc_amprenta.demo.postgres import EmbeddedPostgres

pytestmark = pytest.mark.integration


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path / "postgres", settings={"fsync": "off"})
    server.start()
    yield server
    server.stop("immediate")


def test_it_heals_as_the_database_comes_and_goes(start: Any, own_postgres: EmbeddedPostgres) -> None:
    url, key = own_postgres.url(), new_private_key()
    token = Keyring([key]).api_token("alice", 600)
    own_postgres.stop("immediate")
    service = start(RTC_DATABASE_URL=url, RTC_SIGNING_KEY=key)

    assert service.health(503)["database"] == {"status": "failing", "detail": "The database does not answer."}
    away = service.get("/sessions", token)
    assert (away.status_code, away.json()["code"]) == (503, "database_unavailable")
    assert away.headers["Retry-After"]

    own_postgres.start()
    deadline = time.monotonic() + 20
    while "no schema yet" not in (detail := service.health(503)["database"]["detail"]):
        assert time.monotonic() < deadline, detail
    assert service.get("/sessions", token).json()["code"] == "schema_mismatch"

    migrate.upgrade(url)
    assert service.health(200)["status"] == "ok"
    assert service.get("/sessions", token).json()["total_count"] == 0

    own_postgres.stop("immediate")
    assert service.get("/sessions", token).status_code == 503
    service.health(503)
    own_postgres.start()
    service.health(200)
    assert service.get("/sessions", token).status_code == 200

    status, log = service.end()
    assert status == 0
    assert "Traceback" not in log


def test_without_the_hub_a_jwt_is_enough_and_a_hub_token_waits(start: Any, database_url: str) -> None:
    key = new_private_key()
    service = start(RTC_DATABASE_URL=database_url, RTC_SIGNING_KEY=key)
    service.health(200)
    answer = service.get("/sessions", "f" * 32)
    assert (answer.status_code, answer.json()["code"]) == (503, "hub_unavailable")
    assert service.get("/sessions", Keyring([key]).api_token("alice", 600)).status_code == 200
    assert service.get("/sessions", Keyring([new_private_key()]).api_token("alice", 600)).status_code == 401


def test_the_page_says_what_is_away_and_tries_again(start: Any, own_postgres: EmbeddedPostgres) -> None:
    key = new_private_key()
    own_postgres.stop("immediate")
    service = start(RTC_DATABASE_URL=own_postgres.url(), RTC_SIGNING_KEY=key)
    service.health(503)
    token = Keyring([key]).api_token("alice", 600)
    for bearer in ("f" * 32, token):
        headers = {"Authorization": f"Bearer {bearer}"}
        page = requests.get(f"{service.url}/services/rtc/", headers=headers, timeout=20)
        assert page.status_code == 503
        assert "Your work is safe" in page.text
        assert (page.headers["Refresh"], page.headers["Content-Type"]) == ("5", "text/html; charset=utf-8")
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    style = requests.get(f"{service.url}/services/rtc/static/page.css", timeout=20)
    assert style.status_code == 200
    assert style.headers["X-Content-Type-Options"] == "nosniff"


def test_left_alone_it_asks_the_database_no_more_than_every_five_seconds(start: Any, tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "postgres", settings={"fsync": "off", "log_statement": "all"})
    server.start()
    migrate.upgrade(server.url())
    service = start(RTC_DATABASE_URL=server.url(), RTC_SIGNING_KEY=new_private_key())
    service.health(200)
    time.sleep(1)
    before = server.log_file.stat().st_size
    time.sleep(15)
    transactions = server.log_file.read_text()[before:].count("statement: BEGIN")
    service.end()
    server.stop("immediate")
    assert 1 <= transactions <= 3


def test_it_runs_without_the_yjs_server(start: Any, database_url: str) -> None:
    service = start(RTC_DATABASE_URL=database_url, RTC_YJS_IN_SERVICE="false")
    assert "yjs" not in service.health(200)
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{service.yjs_port}/health", timeout=5)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"RTC_DATABASE_URL": "mysql://x"}, "mysql is not a database"),
        ({"RTC_DATABASE_URL": "postgresql://x/y", "RTC_SIGNING_KEY": "x"}, "RTC_SIGNING_KEY must be"),
        ({"RTC_DATABASE_URL": "postgresql://x/y", "RTC_TOKEN_SECONDS": "x"}, "RTC_TOKEN_SECONDS='x'"),
        (
            {"RTC_DATABASE_URL": "postgresql://x/y", "RTC_WEBHOOK_URLS": "http://x/"},
            "RTC_WEBHOOK_SECRET is not set",
        ),
        ({"RTC_DATABASE_URL": "postgresql://x/y", "JUPYTERHUB_API_TOKEN": ""}, "JUPYTERHUB_API_TOKEN is not"),
    ],
)
def test_what_is_misconfigured_is_one_line(start: Any, environment: dict[str, str], words: str) -> None:
    status, log = start(**environment).ended()
    assert status == 2
    assert words in log
    assert len(log.strip().splitlines()) == 1


def test_a_port_that_is_taken_is_one_line(start: Any, database_url: str) -> None:
    service = start(RTC_DATABASE_URL=database_url)
    service.health(200)
    status, log = start(RTC_DATABASE_URL=database_url, JUPYTERHUB_SERVICE_URL=service.url).ended()
    assert status == 1
    assert service.url in log
    assert "Traceback" not in log
