"""Who takes part, and who decides it: the rules, and what open connections at the Y.js server feel of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from support.rules import ALICE, BOB, CAROL, Rtc, refused, server
from support.yjs_client import YjsClient, until

from jupyter_rtc_amprenta.core.protocol import CloseCode
from jupyter_rtc_amprenta.core.queries_presence import Present
from jupyterhub_service.auth import Identity
from jupyterhub_service.errors import BadRequest, Forbidden, NotFound
from jupyterhub_service.listing import Page

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

# A right that was taken away is felt within this time.
FELT_SECONDS = 5.0


@pytest.fixture
async def document_id(rtc: Rtc) -> str:
    """alice's, with bob as a writer."""
    document_id = await rtc.register()
    await rtc.let_in(document_id, BOB)
    return document_id


# --- rights ----------------------------------------------------------------------------------------------------


async def test_the_owner_changes_what_somebody_may_do(rtc: Rtc, document_id: str) -> None:
    answer = await rtc.participants.change(ALICE, document_id, "bob", "read-only")
    assert (answer["username"], answer["permissions"], answer["is_owner"]) == ("bob", "read-only", False)
    assert (await rtc.people(document_id))["bob"]["permissions"] == "read-only"
    assert (await rtc.happened(document_id))[-1] == "alice made bob a reader"
    await rtc.participants.change(ALICE, document_id, "bob", "read-write")
    await rtc.participants.change(ALICE, document_id, "bob", "read-write")
    assert (await rtc.happened(document_id))[-2:] == ["alice made bob a reader", "alice made bob a writer"]


async def test_who_may_change_a_right(rtc: Rtc, document_id: str) -> None:
    change = rtc.participants.change
    assert await refused(change(BOB, document_id, "bob", "read-write"), Forbidden) == "owner_required"
    assert await refused(change(CAROL, document_id, "bob", "read-only"), Forbidden) == "not_a_participant"
    assert await refused(change(ALICE, "unknown", "bob", "read-only"), NotFound) == "session_not_found"
    assert (
        await refused(change(ALICE, document_id, "carol", "read-only"), NotFound) == "participant_not_found"
    )
    assert (
        await refused(change(ALICE, document_id, "alice", "read-only"), BadRequest) == "owner_permissions"
    )


# --- leaving ---------------------------------------------------------------------------------------------------


async def test_somebody_who_is_removed_is_out(rtc: Rtc, document_id: str) -> None:
    await rtc.seen(server("bob"), document_id)
    await rtc.participants.remove(ALICE, document_id, "bob")
    assert set(await rtc.people(document_id)) == {"alice"}
    assert (await rtc.happened(document_id))[-1] == "alice removed bob"
    assert await refused(rtc.collaboration.session(BOB, document_id), Forbidden) == "not_a_participant"
    assert await refused(rtc.collaboration.document_token(server("bob"), document_id), Forbidden)
    assert (await rtc.seen(server("bob"), document_id))["refused"] == [document_id]
    # Whoever was removed can be invited again.
    await rtc.let_in(document_id, BOB, "read-only")
    assert (await rtc.people(document_id))["bob"]["permissions"] == "read-only"


async def test_everybody_may_leave(rtc: Rtc, document_id: str) -> None:
    await rtc.participants.remove(BOB, document_id, "bob")
    assert set(await rtc.people(document_id)) == {"alice"}
    assert (await rtc.happened(document_id))[-1] == "bob takes part no more"
    remove = rtc.participants.remove
    assert await refused(remove(BOB, document_id, "bob"), Forbidden) == "not_a_participant"


async def test_who_may_remove_whom(rtc: Rtc, document_id: str) -> None:
    await rtc.let_in(document_id, CAROL)
    remove = rtc.participants.remove
    assert await refused(remove(BOB, document_id, "carol"), Forbidden) == "owner_required"
    assert await refused(remove(BOB, document_id, "alice"), Forbidden) == "owner_required"
    assert await refused(remove(ALICE, document_id, "nobody"), NotFound) == "participant_not_found"
    assert await refused(remove(ALICE, "unknown", "bob"), NotFound) == "session_not_found"
    assert await refused(remove(ALICE, document_id, "alice"), BadRequest) == "owner_leaves"


# --- owners ----------------------------------------------------------------------------------------------------


async def test_a_session_is_handed_over(rtc: Rtc, document_id: str) -> None:
    await rtc.participants.change(ALICE, document_id, "bob", "read-only")
    await rtc.participants.hand_over(ALICE, document_id, "bob")
    people = await rtc.people(document_id)
    assert (people["bob"]["is_owner"], people["bob"]["permissions"]) == (True, "read-write")
    assert (people["alice"]["is_owner"], people["alice"]["permissions"]) == (False, "read-write")
    assert (await rtc.happened(document_id))[-1] == "alice handed the session over to bob"
    hand_over = rtc.participants.hand_over
    assert await refused(hand_over(ALICE, document_id, "bob"), Forbidden) == "owner_required"
    assert await refused(hand_over(BOB, document_id, "carol"), BadRequest) == "owner_no_participant"
    await rtc.participants.remove(BOB, document_id, "alice")
    assert set(await rtc.people(document_id, BOB)) == {"bob"}


async def test_a_file_keeps_its_document_while_its_user_takes_part(rtc: Rtc, document_id: str) -> None:
    await rtc.participants.hand_over(ALICE, document_id, "bob")
    assert await rtc.register(path="moved.ipynb") == document_id
    # bob has a file with the same id in his own home: another file.
    assert await rtc.register(BOB) != document_id
    await rtc.participants.remove(ALICE, document_id, "alice")
    again = await rtc.register()
    assert again != document_id
    assert (await rtc.people(again))["alice"]["is_owner"]


async def test_two_owners_never_remove_each_other(rtc: Rtc, document_id: str) -> None:
    """Handing over and leaving at once: one of them is too late, and somebody stays the owner."""
    calls = [
        rtc.participants.hand_over(ALICE, document_id, "bob"),
        rtc.participants.remove(BOB, document_id, "bob"),
    ]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results].count(BadRequest) == 1, results
    owner = BOB if results[0] is None else ALICE
    assert (await rtc.people(document_id, owner))[owner.username]["is_owner"]


# --- activity and places ---------------------------------------------------------------------------------------


async def test_a_minute_of_typing_is_one_line(rtc: Rtc, document_id: str) -> None:
    async def edit(who: Identity, where: str) -> None:
        await rtc.presence.report(who, [Present(document_id, 1, where, edited=where)])

    for _ in range(3):
        await edit(server("bob"), "cell 3")
    await edit(server("bob"), "cell 4")
    await edit(server("alice"), "cell 3")
    edits = [line for line in await rtc.happened(document_id) if "edited" in line]
    assert edits == ["bob edited cell 3", "bob edited cell 4", "alice edited cell 3"]
    assert (await rtc.people(document_id))["bob"]["place"] == "cell 4"


async def test_a_reader_edits_nothing(rtc: Rtc, document_id: str) -> None:
    await rtc.participants.change(ALICE, document_id, "bob", "read-only")
    await rtc.presence.report(server("bob"), [Present(document_id, 1, "cell 3", edited="cell 3")])
    assert (await rtc.happened(document_id))[-1] == "bob joined the session"


async def test_activity_comes_in_pages_the_last_first(rtc: Rtc, document_id: str) -> None:
    first = await rtc.collaboration.activity(BOB, document_id, Page(2))
    rest = await rtc.collaboration.activity(BOB, document_id, Page(2, [first["activity"][-1]["activity_id"]]))
    actions = [one["action"] for one in first["activity"] + rest["activity"]]
    assert actions == ["accepted", "invited", "created"]
    assert first["activity"][0]["sentence"] == "bob accepted the invitation"
    assert "next_cursor" in first
    assert "next_cursor" not in rest
    assert await refused(rtc.collaboration.activity(CAROL, document_id, Page()), Forbidden)


# --- open connections ------------------------------------------------------------------------------------------


async def closed_within(client: YjsClient, seconds: float) -> int | None:
    start = time.monotonic()
    await until(lambda: client.close_code, "closed", seconds + 2)
    assert time.monotonic() - start < seconds
    return client.close_code


@pytest.fixture
async def bobs_socket(rtc: Rtc, document_id: str, make_yjs: Callable) -> YjsClient:
    """bob, connected to a Y.js server of its own process's state."""
    yjs = await make_yjs()
    async with yjs.client(document_id, "bob") as client:
        yield client


async def test_a_new_reader_is_sent_to_come_back_as_such(
    rtc: Rtc, document_id: str, bobs_socket: YjsClient
) -> None:
    await rtc.participants.change(ALICE, document_id, "bob", "read-only")
    assert await closed_within(bobs_socket, FELT_SECONDS) == CloseCode.RIGHTS_CHANGED


@pytest.mark.parametrize("who", [ALICE, BOB], ids=["removed", "left"])
async def test_somebody_who_is_out_is_disconnected(
    rtc: Rtc, document_id: str, bobs_socket: YjsClient, who: Identity
) -> None:
    await rtc.participants.remove(who, document_id, "bob")
    assert await closed_within(bobs_socket, FELT_SECONDS) == CloseCode.NO_RIGHT
