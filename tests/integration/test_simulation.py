"""Rule by rule under random attack: edits, saves, outside changes, crashes between any two steps, cuts, restarts.

After healing all rooms, tabs, files and PostgreSQL are equal, and everything that anybody typed is there once.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
from collections import Counter
from pathlib import Path

import pytest
from pycrdt import Doc, Text
from support.simulation import Hub, Server
from support.yjs_client import until

from jupyter_rtc_amprenta.core.documentlog import DocumentLog

pytestmark = [pytest.mark.anyio, pytest.mark.integration, pytest.mark.timeout(900)]

DOCUMENT = "text_alice"
STEPS = 30
# `make soak` sets more.
SEEDS = range(int(os.environ.get("RTC_SOAK_RUNS", "8")))


class World:
    """alice's file, which bob has joined, and what happens to them."""

    def __init__(self, hub: Hub, home: Path, seed: int) -> None:
        self.hub, self.chance = hub, random.Random(seed)
        self.alice, self.bob = Server(hub, "alice", home / "alice"), Server(hub, "bob", home / "bob")
        self.servers = [self.alice, self.bob]
        self.words = 0
        self.history: list[str] = []

    async def begin(self) -> None:
        self.alice.home.mkdir()
        self.alice.file.write_text("first line\nsecond line\n")
        await self.hub.start()
        await self.alice.start()
        await self.bob.join(DOCUMENT)
        await self.bob.start()

    async def step(self) -> None:
        server = self.chance.choice(self.servers)
        actions = (
            [self.type] * 6 + [self.wait] * 3 + [self.script, self.crash, self.stop, self.start, self.start]
        )
        actions += [self.cut, self.save, self.crash_yjs, self.start_yjs, self.start_yjs]
        action = self.chance.choice(actions)
        self.history.append(f"{action.__name__} {server.user}")
        await action(server)

    async def type(self, server: Server) -> None:
        server.tab.type(self.word(), self.chance.randrange(200))

    async def wait(self, server: Server) -> None:
        await asyncio.sleep(self.chance.choice([0, 0, 0.01, 0.05, 0.3]))

    async def script(self, server: Server) -> None:
        """Something else appends a line to the file, though not in the milliseconds of a save.

        Upstream's loader looks at the file's time, and then writes: who writes in between is overwritten.
        """
        while server.room is not None and server.room._file._lock.locked():  # noqa: ASYNC110 - upstream's lock
            await asyncio.sleep(0.005)
        text = server.file.read_text()
        server.file.write_text(f"{text}{self.word()}\n")

    async def crash(self, server: Server) -> None:
        await server.crash()

    async def stop(self, server: Server) -> None:
        await server.stop()

    async def start(self, server: Server) -> None:
        await server.start()

    async def cut(self, server: Server) -> None:
        server.cut()

    async def save(self, server: Server) -> None:
        if server.room is not None:
            await self.hub.run_in(server.user, server.room.saver.save())

    async def crash_yjs(self, server: Server) -> None:
        await self.hub.crash()

    async def start_yjs(self, server: Server) -> None:
        if not self.hub.is_up:
            await self.hub.start()

    def word(self) -> str:
        """One character that nobody else types, so that nobody types into it."""
        self.words += 1
        return chr(0x4E00 + self.words)

    def typed(self) -> Counter[str]:
        """How often each word is there."""
        return Counter(re.findall(r"[\u4e00-\u9fff]", self.alice.tab.text))

    async def heal(self) -> None:
        await self.start_yjs(self.alice)
        for server in self.servers:
            await server.start()

    async def stored(self) -> str:
        doc: Doc = Doc()
        for update in (await DocumentLog(self.hub.database).read(DOCUMENT)).updates:
            doc.apply_update(update)
        return str(doc.get("source", type=Text))

    def shown(self) -> list[str]:
        return [
            text for s in self.servers for text in (s.tab.text, s.room._document.get(), s.file.read_text())
        ]

    def is_whole(self) -> bool:
        return len(set(self.shown())) == 1 and len(self.typed()) == self.words

    async def end(self) -> None:
        for server in self.servers:
            await server.stop()
        await self.hub.crash()
        self.hub.database.close()


@pytest.mark.parametrize("seed", SEEDS)
async def test_whatever_happens_all_are_equal_in_the_end(seed, database_url, tmp_path):
    world = World(Hub(database_url), tmp_path, seed)
    await world.begin()
    try:
        for _ in range(STEPS):
            await world.step()
        await world.heal()
        try:
            await until(world.is_whole, timeout=20)
        except AssertionError:
            pytest.fail(
                f"not whole: {world.words} words\n{world.shown()}\n{world.history}\n{list(tmp_path.rglob('*.txt'))}"
            )
        assert set(world.typed().values()) <= {1}, world.history
        await until(lambda: world.alice.room.linked.link.unacknowledged == 0)
        assert await world.stored() == world.alice.tab.text
        assert not list(tmp_path.rglob("*conflict*")), world.history
    finally:
        await world.end()
