"""Webhooks: a real target is told in order, signed, once for all replicas, and again where it failed."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.rules import ALICE, BOB, TO_BOB, Rtc, server
from support.yjs_client import until
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from jupyterhub_service import webhooks
from jupyterhub_service.webhooks import Webhooks

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

SECRET = "secret"


class Target:
    """Keeps what it is told, and refuses as often as it is told to."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.refuse = 0
        self.server = HTTPServer(Application([("/hook", _Hook, {"target": self})]))
        socket, port = bind_unused_port()
        self.server.add_socket(socket)
        self.url = f"http://127.0.0.1:{port}/hook"

    @property
    def actions(self) -> list[tuple[str, str]]:
        return [(one["username"], one["action"]) for one in self.told]


class _Hook(RequestHandler):
    def initialize(self, target: Target) -> None:
        self.target = target

    def post(self) -> None:
        expected = hmac.new(SECRET.encode(), self.request.body, hashlib.sha256).hexdigest()
        assert self.request.headers["X-RTC-Signature"] == f"sha256={expected}"
        event = json.loads(self.request.body)
        assert self.request.headers["X-RTC-Event"] == str(event["event_id"])
        if self.target.refuse:
            self.target.refuse -= 1
            self.set_status(500)
            return
        self.target.told.append(event)


@pytest.fixture
async def target(rtc: Rtc, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Target]:
    """A target, and two replicas that tell it."""
    monkeypatch.setattr(webhooks, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(webhooks, "FIRST_RETRY_SECONDS", 0.1)
    target = Target()
    replicas = [Webhooks(rtc.database, [target.url], SECRET) for _ in range(2)]
    running = [asyncio.create_task(replica.run()) for replica in replicas]
    # What happened before a target is known is not told.
    await rtc.register(file_id="before")
    await asyncio.sleep(0.3)
    yield target
    for task in running:
        task.cancel()
    target.server.stop()


async def test_a_target_is_told_once_and_in_order(rtc: Rtc, target: Target) -> None:
    document_id = await rtc.register()
    await rtc.let_in(document_id, BOB)
    await rtc.seen(server("bob"), document_id)
    await rtc.seen(server("bob"))
    await rtc.participants.change(ALICE, document_id, "bob", "read-only")
    await rtc.participants.remove(ALICE, document_id, "bob")
    expected = [
        ("alice", "invited"), ("bob", "accepted"), ("bob", "joined"), ("bob", "left"), ("alice", "removed"),
    ]  # fmt: skip
    await until(lambda: len(target.told) >= len(expected), "told")
    await asyncio.sleep(0.3)
    assert target.actions == expected
    assert target.told[0]["document_id"] == document_id
    assert target.told[0]["detail"] == "bob"


async def test_many_events_are_told_at_once(rtc: Rtc, target: Target) -> None:
    document_id = await rtc.register()
    for _ in range(50):
        await rtc.invites.invite(ALICE, document_id, TO_BOB)
    await until(lambda: len(target.told) >= 50, "told")
    ids = [one["event_id"] for one in target.told]
    assert ids == sorted(set(ids))


async def test_what_is_not_taken_is_told_again(rtc: Rtc, target: Target) -> None:
    document_id = await rtc.register()
    target.refuse = 3
    invite_id = (await rtc.invites.invite(ALICE, document_id, TO_BOB))["invite_id"]
    await rtc.invites.decline(BOB, invite_id)
    await until(lambda: len(target.told) >= 2, "told")
    assert target.actions == [("alice", "invited"), ("bob", "declined")]
    assert target.refuse == 0


async def test_what_is_never_taken_is_given_up(
    rtc: Rtc, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "MOST_ATTEMPTS", 2)
    document_id = await rtc.register()
    target.refuse = 2
    invite_id = (await rtc.invites.invite(ALICE, document_id, TO_BOB))["invite_id"]
    await until(lambda: target.refuse == 0, "refused")
    await rtc.invites.revoke(ALICE, invite_id)
    await until(lambda: target.told, "told")
    assert target.actions == [("alice", "revoked")]
