"""Fifty clients of one document that type, drop, reconnect and lie, against two real servers beside each other.

`RTC_SOAK_SECONDS` says for how long (60; `make soak` takes ten minutes), `RTC_SOAK_IDLE` how many connections are held
open beside it (300; `make soak` takes 2,000).
"""

from __future__ import annotations

import asyncio
import os
import random
import resource
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path

import psutil
import pytest
from pycrdt import Doc, Text
from support.yjs_client import YjsClient, until
from support.yjs_processes import Deployment, Redis, YjsProcess

from jupyter_rtc_amprenta.core import protocol
from jupyter_rtc_amprenta.core.protocol import ClientState
from jupyter_rtc_amprenta.core.tokens import Keyring, new_private_key

SECONDS = float(os.environ.get("RTC_SOAK_SECONDS", 60))
IDLE = int(os.environ.get("RTC_SOAK_IDLE", 300))
DOCUMENT = "text_of_fifty"
HONEST, LIARS = 40, 10

pytestmark = [pytest.mark.anyio, pytest.mark.integration, pytest.mark.timeout(SECONDS * 2 + 180)]


@pytest.fixture
def redis_url() -> Iterator[str]:
    """A Redis; "" where there is none, and replicas hear each other by PostgreSQL's NOTIFY."""
    if not Redis.is_there():
        yield ""
        return
    redis = Redis()
    redis.start()
    yield redis.url
    redis.stop()


@pytest.fixture
async def deployment(tmp_path: Path, database_url: str, redis_url: str):
    deployment = Deployment(tmp_path, database_url, new_private_key(), redis_url)
    people = {f"user{number}": "read-write" for number in range(HONEST + LIARS)}
    deployment.document(DOCUMENT, people)
    yield deployment
    deployment.stop()


def start(deployment: Deployment, count: int) -> list[YjsProcess]:
    limits = {"RTC_MAX_CONNECTIONS_PER_USER": "0", "RTC_MAX_CONNECTIONS_PER_DOCUMENT": "0"}
    return deployment.start(count, RTC_MAX_MESSAGE_BYTES="100000", RTC_MAX_MESSAGES_PER_SECOND="50", **limits)


class Person:
    """An honest client: types, moves its cursor, loses its connection, and comes back with what it has."""

    def __init__(self, deployment: Deployment, servers: list[YjsProcess], number: int) -> None:
        self.doc: Doc = Doc()
        self.words = 0
        self._name = f"user{number}"
        # Where the load balancer sends it.
        self._connect = lambda: deployment.client(random.choice(servers), DOCUMENT, self._name, doc=self.doc)

    async def live(self, ends: float) -> None:
        while time.monotonic() < ends:
            async with self._connect() as client:
                for turn in range(random.randint(5, 40)):
                    self.type(client)
                    client.present(self._name, turn + 1, cursor=turn)
                    await asyncio.sleep(random.uniform(0.2, 0.8))
                    if time.monotonic() > ends:
                        break

    def type(self, client: YjsClient) -> None:
        self.words += 1
        # At an end, so that nobody types into another one's word: they are counted afterwards.
        client.text.insert(random.choice((0, len(str(client.text)))), f"<{self._name}.{self.words}>")

    async def come_to_rest(self) -> None:
        """Wait until all that this client has made is committed."""
        async with self._connect() as client:
            await client.committed(timeout=60)

    async def comes_to_hold(self, whole: str) -> None:
        """Wait until this client's document is the whole one."""
        async with self._connect() as client:
            await until(lambda: str(client.text) == whole, self._name, timeout=30)


async def send_rubbish(client: YjsClient) -> None:
    client.send(random.randbytes(random.randint(1, 200)))


async def send_what_is_cut(client: YjsClient) -> None:
    update = Doc({"source": Text("lie")}).get_update()
    client.send(protocol.encode_update(update[: random.randint(1, len(update) - 1)]))


async def send_too_much(client: YjsClient) -> None:
    client.send(protocol.encode_update(bytes(150_000)))


async def flood(client: YjsClient) -> None:
    for _ in range(600):
        client.send(protocol.encode_echo(b"x"))


async def leave_gaps(client: YjsClient) -> None:
    doc: Doc = Doc()
    made: list[bytes] = []
    subscription = doc.observe(lambda event: made.append(event.update))
    for _ in range(20):
        doc.get("source", type=Text).insert(0, "lie")
    doc.unobserve(subscription)
    for update in random.sample(made[1:], 10):
        client.send(protocol.encode_update(update))


async def speak_for_others(client: YjsClient) -> None:
    states = [ClientState(number, 10**6, {"user": {"name": "root"}}) for number in client.states]
    client.send(protocol.encode_awareness(protocol.encode_states(states)))


LIES: list[Callable[[YjsClient], Coroutine[None, None, None]]] = [
    send_rubbish,
    send_what_is_cut,
    send_too_much,
    flood,
    leave_gaps,
    speak_for_others,
]


async def lie(deployment: Deployment, servers: list[YjsProcess], number: int, ends: float) -> None:
    foreign = Keyring([new_private_key()])
    while time.monotonic() < ends:
        server = random.choice(servers)
        client = deployment.client(server, DOCUMENT, f"user{HONEST + number}")
        if random.random() < 0.2:
            token = foreign.document_token("root", DOCUMENT, "read-write", 1, 60)
            client = YjsClient(f"ws://127.0.0.1:{server.port}/doc/{DOCUMENT}?token={token}")
        await client.connect()
        await random.choice(LIES)(client)
        await asyncio.sleep(random.uniform(0.1, 1.0))
        await client.close()


def memory(servers: list[YjsProcess]) -> list[int]:
    return [psutil.Process(server.process.pid).memory_info().rss for server in servers]


async def test_fifty_clients_that_type_drop_reconnect_and_lie(deployment):
    servers = start(deployment, 2)
    for server in servers:
        await server.becomes(200, replicas=2)
    people = [Person(deployment, servers, number) for number in range(HONEST)]
    ends = time.monotonic() + SECONDS
    busy = asyncio.gather(
        *(person.live(ends) for person in people),
        *(lie(deployment, servers, number, ends) for number in range(LIARS)),
    )
    await asyncio.sleep(SECONDS / 2)
    halfway = memory(servers)
    await busy
    grown = [now - then for now, then in zip(memory(servers), halfway, strict=True)]
    for person in people:
        await person.come_to_rest()
    whole = deployment.stored(DOCUMENT)
    assert "lie" not in whole and "root" not in whole
    for number, person in enumerate(people):
        for word in range(1, person.words + 1):
            assert whole.count(f"<user{number}.{word}>") == 1
    # Everybody is told of everything, at either server.
    for person in people:
        await person.comes_to_hold(whole)
    # What is typed stays; what lies and reconnects leave behind does not.
    assert max(grown) < 30 * 2**20 + 200 * len(whole), f"{[size / 2**20 for size in grown]} MiB"
    for server in servers:
        assert "Traceback" not in server.log and "[E" not in server.log


async def test_idle_connections_are_held(deployment):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 2 * IDLE:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2 * IDLE + 200), hard))
    (server,) = start(deployment, 1)
    await server.becomes(200)
    idle = [deployment.client(server, DOCUMENT, f"user{number % HONEST}") for number in range(IDLE)]
    for first in range(0, IDLE, 50):
        await asyncio.gather(*(client.connect() for client in idle[first : first + 50]))
    await until(lambda: all(client.synced.is_set() for client in idle), timeout=60)
    assert (await server.becomes(200))["connections"] == IDLE
    async with deployment.client(server, DOCUMENT, "user0") as one:
        one.text.insert(0, "all hear it")
        await one.committed()
        await until(lambda: all(str(client.text) == "all hear it" for client in idle), timeout=30)
    assert {client.close_code for client in idle} == {None}
    for first in range(0, IDLE, 50):
        await asyncio.gather(*(client.close() for client in idle[first : first + 50]))
