"""A notebook that alice shares with bob, and what is checked of it on every side."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import psutil
import psycopg2
from support.people import BrowserRoom, Person, in_postgresql, sources
from support.running_demo import RunningDemo
from support.yjs_client import until

NOTEBOOK = "Welcome.ipynb"


class Shared:
    """The notebook that alice shares with bob."""

    def __init__(self, demo: RunningDemo) -> None:
        self.demo = demo
        self.alice, self.bob = Person(demo, "alice"), Person(demo, "bob")
        self.document_id = ""
        self.bobs_path = ""

    async def open(self) -> tuple[BrowserRoom, BrowserRoom]:
        """Both open it; the first time, alice invites and bob joins."""
        at_alice = await self.alice.open(NOTEBOOK)
        if not self.document_id:
            self.document_id = self.alice.status()["documents"][0]["document_id"]
            self._invite()
        return at_alice, await self.bob.open(self.bobs_path)

    def _invite(self) -> None:
        invited = self.alice.call("POST", f"/sessions/{self.document_id}/invite", json={"username": "bob"})
        assert invited.status_code == 200, invited.text
        accepted = self.bob.call("POST", f"/invites/{invited.json()['invite_id']}/accept").json()
        assert accepted["open_url"].endswith(f"/hub/user-redirect/rtc/join/{self.document_id}")
        self.bobs_path = self.bob.join(self.document_id)
        assert (self.bob.home / self.bobs_path).exists(), "when the join answers, the file is there"

    async def saved(self) -> None:
        """Wait until both servers say that everything is committed."""
        for person in (self.alice, self.bob):
            await until(lambda person=person: all(d["saved"] for d in person.status()["documents"]), "saved")

    def stored(self) -> dict[str, Any]:
        """The notebook as PostgreSQL alone has it."""
        return in_postgresql([bytes(row[0]) for row in self._rows("payload")])

    def position(self) -> list[Any]:
        return self._rows("seq, created_at")

    def _rows(self, columns: str) -> list[Any]:
        query = f"SELECT {columns} FROM yjs_updates WHERE document_id = %s ORDER BY seq"
        connection = psycopg2.connect(self.demo.ready["database_url"])
        try:
            with connection.cursor() as cursor:
                cursor.execute(query, (self.document_id,))
                return cursor.fetchall()
        finally:
            connection.close()

    def assert_files(self, expected: list[str]) -> bool:
        return (
            sources(self.alice.file(NOTEBOOK)) == expected
            and sources(self.bob.file(self.bobs_path)) == expected
        )


async def type_at_once(at_alice: BrowserRoom, at_bob: BrowserRoom, words: int, mark: str) -> None:
    """alice types into cell 1, bob into cell 2, and both into cell 3."""
    for number in range(words):
        at_alice.type_into(1, f"[{mark}a{number}]")
        at_bob.type_into(2, f"[{mark}b{number}]")
        (at_alice if number % 2 else at_bob).type_into(3, f"[{mark}c{number}]")
        await asyncio.sleep(0.02)


def assert_each_word_once(sources_: list[str], words: int, mark: str) -> None:
    for number in range(words):
        for cell, person in ((1, "a"), (2, "b"), (3, "c")):
            word = f"[{mark}{person}{number}]"
            assert sources_[cell].count(word) == 1, (
                f"{word} is {sources_[cell].count(word)} times in cell {cell}"
            )


async def both_show(at_alice: BrowserRoom, at_bob: BrowserRoom, words: int, mark: str) -> list[str]:
    def equal() -> bool:
        one, two = sources(at_alice.contents()), sources(at_bob.contents())
        return one == two and one[3].count(f"[{mark}c") == words and one[1].count(f"[{mark}a") == words

    await until(equal, "both show the same")
    result = sources(at_alice.contents())
    assert_each_word_once(result, words, mark)
    return result


def server_of(demo: RunningDemo, user: str) -> psutil.Process:
    """The process of a user's own server."""
    for process in demo.processes():
        if (
            "jupyterhub.singleuser" in " ".join(process.cmdline())
            and process.environ().get("JUPYTERHUB_USER") == user
        ):
            return process
    raise AssertionError(f"{user} has no server")


def service_of(demo: RunningDemo) -> psutil.Process:
    """The process of the Hub's service, in which the Y.js server runs."""
    return next(p for p in demo.processes() if "jupyterhub_service" in p.cmdline())


def home_files(person: Person) -> list[Path]:
    found = (path.relative_to(person.home) for path in person.home.rglob("*.ipynb"))
    return sorted(path for path in found if not any(part.startswith(".") for part in path.parts))
