"""One file in two servers under random attack: edits, saves, outside changes, crashes between any two steps, cuts.

After healing both rooms, both tabs, the one file and PostgreSQL are equal, and everything that anybody typed, or a
script wrote into the file, is there once.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from pathlib import Path

import pytest
from support.mounts import MountHub, MountServer
from support.yjs_client import until

from jupyter_rtc_amprenta import agreedsaver

pytestmark = [pytest.mark.anyio, pytest.mark.integration, pytest.mark.timeout(900)]

STEPS = 30
# `make soak` sets more.
SEEDS = range(int(os.environ.get("RTC_SOAK_RUNS", "4")))


class World:
    """A file of the volume, two servers that have it, and what happens to them."""

    def __init__(self, hub: MountHub, folder: Path, seed: int) -> None:
        self.hub, self.chance = hub, random.Random(seed)
        self.servers = [MountServer(hub, name, folder / name) for name in ("alice", "bob")]
        self.file = hub.volume / "notes.txt"
        self.words = 0
        self.history: list[str] = []

    async def begin(self) -> None:
        self.file.write_text("first line\nsecond line\n")
        await self.hub.start()
        for server in self.servers:
            await server.start()

    async def step(self) -> None:
        server = self.chance.choice(self.servers)
        actions = [self.type] * 6 + [self.wait] * 3 + [self.script, self.crash, self.stop, self.start, self.start]
        actions += [self.cut, self.save, self.crash_yjs, self.start_yjs, self.start_yjs]
        action = self.chance.choice(actions)
        self.history.append(f"{action.__name__} {server.user}")
        await action(server)

    async def type(self, server: MountServer) -> None:
        server.tab.type(self.word(), self.chance.randrange(200))

    async def wait(self, server: MountServer) -> None:
        await asyncio.sleep(self.chance.choice([0, 0, 0.01, 0.05, 0.3]))

    async def script(self, server: MountServer) -> None:
        """Something else appends a line to the file, though not in the milliseconds of a save."""
        while any(one.room is not None and one.room._file._lock.locked() for one in self.servers):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        text = self.file.read_text()
        self.file.write_text(f"{text}{self.word()}\n")

    async def crash(self, server: MountServer) -> None:
        await server.crash()

    async def stop(self, server: MountServer) -> None:
        await server.stop()

    async def start(self, server: MountServer) -> None:
        await server.start()

    async def cut(self, server: MountServer) -> None:
        server.cut()

    async def save(self, server: MountServer) -> None:
        if server.room is not None:
            await self.hub.run_in(server.user, server.room.saver.save())

    async def crash_yjs(self, server: MountServer) -> None:
        await self.hub.crash()

    async def start_yjs(self, server: MountServer) -> None:
        if not self.hub.is_up:
            await self.hub.start()

    def word(self) -> str:
        """One character that nobody else types, so that nobody types into it."""
        self.words += 1
        return chr(0x4E00 + self.words)

    def typed(self) -> Counter[str]:
        return Counter(letter for letter in self.servers[0].tab.text if "\u4e00" <= letter <= "\u9fff")

    async def heal(self) -> None:
        await self.start_yjs(self.servers[0])
        for server in self.servers:
            await server.start()

    def shown(self) -> list[str]:
        return [text for s in self.servers for text in (s.tab.text, s.room._document.get())] + [self.file.read_text()]

    def is_whole(self) -> bool:
        return len(set(self.shown())) == 1 and len(self.typed()) == self.words

    async def end(self) -> None:
        for server in self.servers:
            await server.stop()
        await self.hub.end_all()


@pytest.mark.parametrize("seed", SEEDS)
async def test_whatever_happens_all_are_equal_in_the_end(seed, database_url, tmp_path, monkeypatch):
    monkeypatch.setattr(agreedsaver, "_ASK_AGAIN_SECONDS", 0.3)
    world = World(MountHub(database_url, tmp_path / "volume"), tmp_path, seed)
    await world.begin()
    try:
        for _ in range(STEPS):
            await world.step()
        await world.heal()
        try:
            await until(world.is_whole, timeout=30)
        except AssertionError:
            kept = {str(path): path.read_text() for path in tmp_path.rglob("*(conflict*")}
            pytest.fail(f"not whole: {world.words} words\n{world.shown()}\n{world.history}\n{kept}")
        assert set(world.typed().values()) <= {1}, world.history
        await world.servers[0].committed()
        assert await world.hub.stored(world.servers[0].document_id) == world.servers[0].tab.text
        assert not list(tmp_path.rglob("*conflict*")), world.history
    finally:
        await world.end()
