"""Who is at the Hub and who is there no more; who is found when one invites; who is idle."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update
from support.rules import ALICE, BOB, CAROL, ROOT, TO_BOB, Rtc, refused, server

from jupyter_rtc_amprenta.core.queries_audit import AuditFilter
from jupyter_rtc_amprenta.core.queries_presence import Present
from jupyter_rtc_amprenta.core.schema import now, presence, users
from jupyterhub_service.errors import BadRequest, Forbidden, Unavailable
from jupyterhub_service.listing import Page
from jupyterhub_service.overview import Overview
from jupyterhub_service.people import People
from jupyterhub_service.user_watch import CHECK_HOURS, UserWatch
from jupyterhub_service.views import IDLE_SECONDS

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


@pytest.fixture
async def document_id(rtc: Rtc) -> str:
    """alice's, with bob as a writer."""
    document_id = await rtc.register()
    await rtc.let_in(document_id, BOB)
    return document_id


# --- gone ------------------------------------------------------------------------------------------------------


async def known(rtc: Rtc, **wanted: Any) -> dict[str, Any]:
    answer = await rtc.admin.users(ROOT, Page(), wanted.get("name", ""), wanted.get("gone"))
    assert answer["total_count"] == len(answer["users"])
    return {one["username"]: one for one in answer["users"]}


async def later(rtc: Rtc) -> None:
    """It is everybody's turn to be looked up again."""
    before = now() - timedelta(hours=CHECK_HOURS, minutes=1)
    await rtc.database.run(lambda connection: connection.execute(update(users).values(checked_at=before)))


async def test_who_is_not_at_the_hub_any_more_is_noticed_and_may_come_back(rtc: Rtc, document_id: str) -> None:
    await rtc.invites.invite(ALICE, document_id, replace(TO_BOB, username="carol"))
    watch = UserWatch(rtc.database, rtc.hub)  # type: ignore[arg-type]
    await watch.check()
    assert await known(rtc, gone=True) == {}

    names = rtc.hub.names
    del names["bob"], names["carol"]
    await watch.check()
    assert await known(rtc, gone=True) == {}, "each is asked for once an hour"
    await later(rtc)
    await watch.check()
    gone = await known(rtc, gone=True)
    assert set(gone) == {"bob", "carol"}
    assert (await rtc.admin.counts(ROOT))["gone_users"] == 2
    assert (await rtc.invites.of_session(ALICE, document_id, Page()))["invites"][0]["state"] == "revoked"
    # What they have is nobody's to take away by itself.
    assert set(await rtc.people(document_id)) == {"alice", "bob"}
    entries = (await rtc.admin.audit(ROOT, Page(), AuditFilter(action="gone")))["audit"]
    assert {(one["username"], one["detail"]) for one in entries} == {("", "bob"), ("", "carol")}

    names["carol"] = ""
    await later(rtc)
    await watch.check()
    assert set(await known(rtc, gone=True)) == {"bob"}
    await rtc.admin.rename(ROOT, "bob", "robert")
    assert await known(rtc, gone=True) == {}


async def test_a_hub_that_does_not_answer_makes_nobody_gone(rtc: Rtc, document_id: str) -> None:
    class Away:
        async def display_name(self, username: str) -> str | None:
            raise Unavailable("hub_unavailable", "The Hub does not answer.")

    with pytest.raises(Unavailable):
        await UserWatch(rtc.database, Away()).check()  # type: ignore[arg-type]
    assert await known(rtc, gone=True) == {}


async def test_admins_find_users(rtc: Rtc, document_id: str) -> None:
    await rtc.seen(server("bob"), document_id)
    everybody = await known(rtc)
    assert (everybody["alice"]["owned_sessions"], everybody["bob"]["is_online"]) == (1, True)
    assert set(await known(rtc, name="OB B")) == {"bob"}
    first = await rtc.admin.users(ROOT, Page(1), "", None)
    assert [one["username"] for one in first["users"]] == ["alice"]
    second = await rtc.admin.users(ROOT, Page(1, ("alice",)), "", False)
    assert [one["username"] for one in second["users"]] == ["bob"]
    assert "next_cursor" not in second


# --- disconnected ----------------------------------------------------------------------------------------------


async def test_who_is_disconnected_has_no_open_invite_to_come_back_by(rtc: Rtc, document_id: str) -> None:
    invite_id = (await rtc.invites.invite(ALICE, document_id, replace(TO_BOB, username="carol")))["invite_id"]
    answer = await rtc.admin.disconnect(ROOT, "carol", "carol")
    assert answer["document_ids"] == []
    assert await refused(rtc.invites.accept(CAROL, invite_id), BadRequest) == "invite_answered"
    assert (await rtc.happened(document_id))[-1] == "root withdrew the invitation of carol"
    entries = (await rtc.admin.audit(ROOT, Page(), AuditFilter(username="root")))["audit"]
    assert ("disconnected", "carol") in {(one["action"], one["detail"]) for one in entries}


# --- found -----------------------------------------------------------------------------------------------------


async def test_whom_one_works_with_is_found_and_nobody_else(rtc: Rtc, document_id: str) -> None:
    await rtc.register(CAROL)
    overview = Overview(rtc.database, rtc.settings)
    people = People(rtc.settings, rtc.hub, overview)  # type: ignore[arg-type]
    bob = {"username": "bob", "display_name": "Bob B."}
    assert await people.search(ALICE, "") == {"users": [bob], "complete": False}
    assert await people.search(ALICE, "BOB b") == {"users": [bob], "complete": False}
    assert await people.search(ALICE, "carol") == {"users": [], "complete": False}
    assert await refused(people.search(server("alice"), ""), Forbidden) == "person_required"


async def test_all_of_the_hubs_users_are_found_where_the_operator_lets_them(rtc: Rtc, document_id: str) -> None:
    overview, settings = Overview(rtc.database, rtc.settings), replace(rtc.settings, search_users=True)
    rtc.hub.may_list = True
    people = People(settings, rtc.hub, overview)  # type: ignore[arg-type]
    found = await people.search(ALICE, "o")
    assert [one["username"] for one in found["users"]] == ["bob", "carol"]
    assert found["complete"]
    assert found["users"][1]["display_name"] == "carol"
    assert [one["username"] for one in (await people.search(ALICE, "alice"))["users"]] == []
    # The Hub itself has the last word.
    rtc.hub.may_list = False
    assert not (await People(settings, rtc.hub, overview).search(ALICE, "carol"))["users"]  # type: ignore[arg-type]


# --- idle ------------------------------------------------------------------------------------------------------


async def report(rtc: Rtc, document_id: str, **more: str | None) -> dict[str, Any]:
    values = {"place": "cell 1", "edited": None} | more
    await rtc.presence.report(server("bob"), [Present(document_id, 1, **values)])
    return (await rtc.people(document_id))["bob"]


async def wait_until_idle(rtc: Rtc) -> None:
    before = now() - timedelta(seconds=IDLE_SECONDS + 1)
    await rtc.database.run(lambda connection: connection.execute(update(presence).values(last_active=before)))


async def test_who_neither_moves_nor_edits_is_idle(rtc: Rtc, document_id: str) -> None:
    assert not (await rtc.people(document_id))["bob"]["is_idle"], "who never came is not idle"
    assert not (await report(rtc, document_id))["is_idle"]
    await wait_until_idle(rtc)
    bob = await report(rtc, document_id)
    assert (bob["is_online"], bob["is_idle"]) == (True, True)
    assert bob["last_active"] < bob["last_seen"]
    assert not (await report(rtc, document_id, place="cell 2"))["is_idle"]
    await wait_until_idle(rtc)
    assert not (await report(rtc, document_id, place="cell 2", edited="cell 2"))["is_idle"]
    await wait_until_idle(rtc)
    await rtc.presence.report(server("bob"), [])
    assert not (await rtc.people(document_id))["bob"]["is_idle"], "who has left is not idle"
    assert not (await report(rtc, document_id, place="cell 2"))["is_idle"], "who has come again is not, either"


async def test_who_is_active_on_one_of_two_servers_is_not_idle(rtc: Rtc, document_id: str) -> None:
    await report(rtc, document_id)
    await wait_until_idle(rtc)
    await rtc.presence.report(server("bob", "gpu"), [Present(document_id, 1, None)])
    assert not (await rtc.people(document_id))["bob"]["is_idle"]
