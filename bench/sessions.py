"""How long lists and details take where there is much, against a service where there is nothing.

    python bench/sessions.py [--sessions 1000] [--participants 20] [--requests 200]

A real service over a PostgreSQL of its own. It fails where a p95 is more than five times that of the empty service.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from uuid import uuid4

import requests
from sqlalchemy import Connection, insert

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.service_process import Service

from jupyter_rtc_amprenta.core import migrate
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.schema import (
    activity,
    now,
    participants,
    presence,
    sessions,
    users,
    yjs_documents,
)
from jupyter_rtc_amprenta.core.tokens import Keyring, new_private_key
from jupyter_rtc_amprenta.demo.postgres import EmbeddedPostgres

MOST_TIMES = 5.0
_ACTIVITIES = 50


def fill(connection: Connection, count: int, people: int) -> None:
    """`count` sessions of alice's with `people` participants each, all of them there."""
    time_ = now()
    names = ["alice", *(f"user{number}" for number in range(1, people))]
    ids = [f"notebook_{number}" for number in range(count)]
    known = [
        {"user_id": str(uuid4()), "username": name, "display_name": name, "created_at": time_} for name in names
    ]
    connection.execute(insert(users), known)
    connection.execute(
        insert(yjs_documents), [{"document_id": one, "created_at": time_, "updated_at": time_} for one in ids]
    )
    session = {"owner": "alice", "file_owner": "alice", "volume": "home", "document_type": "notebook"}
    times = {"created_at": time_, "last_activity": time_}
    connection.execute(
        insert(sessions),
        [
            session | times | {"document_id": one, "file_id": one, "path": f"{one}.ipynb", "title": one}
            for one in ids
        ],
    )
    pairs = [(one, name) for one in ids for name in names]
    connection.execute(
        insert(participants),
        [
            {"document_id": one, "username": name, "permissions": "read-write", "joined_at": time_}
            for one, name in pairs
        ],
    )
    here = {"connections": 1, "place": "cell 3", "last_seen": time_, "last_active": time_}
    connection.execute(
        insert(presence),
        [here | {"document_id": one, "username": name, "server": f"{name}/"} for one, name in pairs],
    )
    line = {"username": "alice", "action": "joined", "detail": "", "created_at": time_}
    connection.execute(
        insert(activity), [line | {"document_id": one} for one in ids for _ in range(_ACTIVITIES)]
    )


def p95(service: Service, token: str, path: str, count: int) -> float:
    """The 95th percentile of a request's time, in milliseconds."""
    url = f"{service.url}/api/v1/collaboration{path}"
    taken = []
    with requests.Session() as client:
        client.headers["Authorization"] = f"Bearer {token}"
        for _ in range(count):
            start = time.perf_counter()
            answer = client.get(url, timeout=30)
            taken.append(1000 * (time.perf_counter() - start))
            assert answer.status_code == 200, answer.text
    return statistics.quantiles(taken, n=20)[-1]


def measure(url: str, options: argparse.Namespace, count: int, people: int) -> dict[str, float]:
    """The p95 of each kind of request, in milliseconds, with so many sessions."""
    migrate.upgrade(url)
    database = Database(url, threads=1)
    database.call(fill, count, people)
    database.close()
    key = new_private_key()
    service = Service(RTC_DATABASE_URL=url, RTC_SIGNING_KEY=key, RTC_MAX_REQUESTS_PER_MINUTE="0")
    try:
        service.health(200)
        token = Keyring([key]).api_token("alice", 3600)
        paths = {"list": "/sessions", "detail": "/sessions/notebook_0", "people": "/sessions/notebook_0/participants"}
        p95(service, token, "/sessions", 20)
        return {name: p95(service, token, path, options.requests) for name, path in paths.items()}
    finally:
        service.end()


def main() -> int:
    """Measure, print, and say by the exit code whether it holds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--participants", type=int, default=20)
    parser.add_argument("--requests", type=int, default=200)
    options = parser.parse_args()
    found = []
    for count, people in ((1, 1), (options.sessions, options.participants)):
        with tempfile.TemporaryDirectory() as folder:
            postgres = EmbeddedPostgres(Path(folder) / "postgres")
            postgres.start()
            try:
                found.append(measure(postgres.url(), options, count, people))
            finally:
                postgres.stop("immediate")
    small, large = found
    for name in small:
        times = large[name] / small[name]
        print(f"{name:8} p95 {small[name]:7.2f} ms → {large[name]:7.2f} ms, {times:.1f} times")
    return int(any(large[name] > MOST_TIMES * small[name] for name in small))


if __name__ == "__main__":
    sys.exit(main())
