"""Invites that are renewed, bounded and asked for twice; and invitation links."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update
from support.rules import ALICE, BOB, CAROL, TO_BOB, Rtc, refused, server

from jupyter_rtc_amprenta.core.schema import invite_links, invites, now
from jupyterhub_service.bodies import LinkBody
from jupyterhub_service.errors import BadRequest, Conflict, Forbidden, NotFound
from jupyterhub_service.listing import Page

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


@pytest.fixture
async def document_id(rtc: Rtc) -> str:
    return await rtc.register()


def seconds_left(answer: dict[str, Any]) -> float:
    return (datetime.fromisoformat(answer["expires_at"]) - now()).total_seconds()


async def expire(rtc: Rtc, table: Any) -> None:
    late = update(table).values(expires_at=now() - timedelta(seconds=1))
    await rtc.database.run(lambda connection: connection.execute(late))


# --- how long --------------------------------------------------------------------------------------------------


async def test_an_invite_lasts_a_day_or_as_long_as_was_asked(rtc: Rtc, document_id: str) -> None:
    invite = rtc.invites.invite
    assert 86390 < seconds_left(await invite(ALICE, document_id, TO_BOB)) <= 86400
    assert 590 < seconds_left(await invite(ALICE, document_id, replace(TO_BOB, expires_in=600))) <= 600
    for seconds in (59.0, rtc.settings.longest_invite_seconds + 1):
        body = replace(TO_BOB, expires_in=seconds)
        assert await refused(invite(ALICE, document_id, body), BadRequest) == "invalid_expires_in"


async def test_an_invite_is_renewed(rtc: Rtc, document_id: str) -> None:
    invite_id = (await rtc.invites.invite(ALICE, document_id, TO_BOB))["invite_id"]
    await expire(rtc, invites)
    assert await refused(rtc.invites.renew(BOB, invite_id, None), Forbidden) == "owner_required"
    assert await refused(rtc.invites.renew(CAROL, invite_id, None), NotFound) == "invite_not_found"
    assert await refused(rtc.invites.renew(ALICE, invite_id, 1.0), BadRequest) == "invalid_expires_in"
    renewed = await rtc.invites.renew(ALICE, invite_id, 3600)
    assert (renewed["invite_id"], renewed["state"]) == (invite_id, "pending")
    assert 3590 < seconds_left(renewed) <= 3600
    assert (await rtc.happened(document_id))[-1] == "alice renewed the invitation of bob"
    await rtc.invites.accept(BOB, invite_id)
    assert await refused(rtc.invites.renew(ALICE, invite_id, None), BadRequest) == "invite_answered"


# --- the same request twice ------------------------------------------------------------------------------------


async def test_a_request_with_a_key_is_carried_out_once(rtc: Rtc, document_id: str) -> None:
    first = await rtc.invites.invite(ALICE, document_id, TO_BOB, "k")
    await rtc.invites.accept(BOB, first["invite_id"])
    # Without the key it would be refused: bob takes part already.
    assert await rtc.invites.invite(ALICE, document_id, TO_BOB, "k") == first
    assert (await rtc.happened(document_id)).count("alice invited bob") == 1
    other = replace(TO_BOB, message="Another")
    assert await refused(rtc.invites.invite(ALICE, document_id, other, "k"), Conflict) == "idempotency_key_reused"


async def test_keys_are_everybodys_own_and_a_refusal_takes_none(rtc: Rtc, document_id: str) -> None:
    assert await refused(rtc.invites.invite(BOB, document_id, TO_BOB, "k"), Forbidden)
    await rtc.invites.invite(ALICE, document_id, TO_BOB, "k")
    assert await refused(rtc.invites.invite(BOB, document_id, TO_BOB, "k"), Forbidden) == "not_a_participant"


async def test_the_same_request_many_times_at_once(rtc: Rtc, document_id: str) -> None:
    answers = await asyncio.gather(
        *(rtc.invites.invite(ALICE, document_id, TO_BOB, "k") for _ in range(6))
    )
    assert len({str(answer) for answer in answers}) == 1
    assert (await rtc.happened(document_id)).count("alice invited bob") == 1


# --- links -----------------------------------------------------------------------------------------------------


async def test_a_link_lets_in_as_often_as_it_says(rtc: Rtc, document_id: str) -> None:
    made = await rtc.links.make(ALICE, document_id, LinkBody("read-only", 1, 3600))
    assert (made["state"], made["uses"], made["max_uses"]) == ("active", 0, 1)
    assert 3590 < seconds_left(made) <= 3600
    offer = await rtc.links.look(BOB, made["token"])
    assert (offer["owner"], offer["document_title"]) == ("alice", "Customer Data Analysis")
    assert set(await rtc.people(document_id)) == {"alice"}, "to look at a link changes nothing"
    accepted = {
        "success": True,
        "document_id": document_id,
        "permissions": "read-only",
        "open_url": f"/hub/user-redirect/rtc/join/{document_id}",
    }
    assert await rtc.links.accept(BOB, made["token"]) == accepted
    # Again, by one who is in: no use is counted, and nothing is refused.
    assert await rtc.links.accept(BOB, made["token"]) == accepted
    assert (await rtc.people(document_id))["bob"]["permissions"] == "read-only"
    assert (await rtc.happened(document_id))[-2:] == [
        "alice made an invitation link", "bob came by an invitation link",
    ]  # fmt: skip
    assert await refused(rtc.links.accept(CAROL, made["token"]), BadRequest) == "link_used_up"
    (listed,) = (await rtc.links.listed(ALICE, document_id, Page()))["links"]
    assert listed == {key: value for key, value in made.items() if key != "token"} | {
        "uses": 1,
        "state": "used_up",
    }


async def test_the_owner_who_opens_the_own_link_stays_the_owner(rtc: Rtc, document_id: str) -> None:
    made = await rtc.links.make(ALICE, document_id, LinkBody("read-only", 1, None))
    assert (await rtc.links.accept(ALICE, made["token"]))["permissions"] == "read-write"


async def test_the_last_use_is_taken_once(rtc: Rtc, document_id: str) -> None:
    token = (await rtc.links.make(ALICE, document_id, LinkBody("read-write", 1, None)))["token"]
    calls = [rtc.links.accept(who, token) for who in (BOB, CAROL, BOB, CAROL)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(result, BadRequest) for result in results].count(True) == 2
    assert len(await rtc.people(document_id)) == 2


async def test_a_link_ends(rtc: Rtc, document_id: str) -> None:
    links = rtc.links
    made = await links.make(ALICE, document_id, LinkBody("read-write", 5, None))
    await expire(rtc, invite_links)
    assert await refused(links.accept(BOB, made["token"]), BadRequest) == "link_expired"
    made = await links.make(ALICE, document_id, LinkBody("read-write", 5, None))
    await links.revoke(ALICE, document_id, made["link_id"])
    await links.revoke(ALICE, document_id, made["link_id"])
    assert await refused(links.look(BOB, made["token"]), BadRequest) == "link_revoked"
    assert await refused(links.accept(BOB, made["token"]), BadRequest) == "link_revoked"
    assert await refused(links.accept(BOB, "x" * 32), NotFound) == "link_not_found"
    states = [link["state"] for link in (await links.listed(ALICE, document_id, Page()))["links"]]
    assert states == ["revoked", "expired"]


async def test_only_the_owner_has_links(rtc: Rtc, document_id: str) -> None:
    await rtc.let_in(document_id, BOB)
    body = LinkBody("read-write", 1, None)
    made = await rtc.links.make(ALICE, document_id, body)
    for call in (
        rtc.links.make(BOB, document_id, body),
        rtc.links.listed(BOB, document_id, Page()),
        rtc.links.revoke(BOB, document_id, made["link_id"]),
    ):
        assert await refused(call, Forbidden) == "owner_required"
    other = await rtc.register(file_id="other")
    assert await refused(rtc.links.revoke(ALICE, other, made["link_id"]), NotFound) == "link_not_found"
    assert await refused(rtc.links.accept(server("carol"), made["token"]), Forbidden) == "person_required"


async def test_who_was_removed_does_not_come_back_by_an_old_link(rtc: Rtc, document_id: str) -> None:
    token = (await rtc.links.make(ALICE, document_id, LinkBody("read-write", 5, None)))["token"]
    await rtc.links.accept(BOB, token)
    await rtc.participants.remove(ALICE, document_id, "bob")
    assert await refused(rtc.links.accept(BOB, token), Forbidden) == "removed_by_owner"
    newer = (await rtc.links.make(ALICE, document_id, LinkBody("read-write", 5, None)))["token"]
    await rtc.links.accept(BOB, newer)


async def test_the_database_holds_no_token(rtc: Rtc, document_id: str) -> None:
    token = (await rtc.links.make(ALICE, document_id, LinkBody("read-write", 1, None)))["token"]
    rows = await rtc.database.run(lambda connection: connection.execute(select(invite_links)).all())
    assert token not in str(rows)
