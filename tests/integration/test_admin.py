"""The Hub's admins, the audit, people who change, and what is kept for a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import requests
from sqlalchemy import select, update
from support.rules import ALICE, BOB, CAROL, ROOT, TO_BOB, Rtc, person, refused, server
from support.service_process import Service
from support.stub_hub import StubHub

from jupyter_rtc_amprenta import cli
from jupyter_rtc_amprenta.core.queries_audit import AuditFilter
from jupyter_rtc_amprenta.core.queries_people import Wanted
from jupyter_rtc_amprenta.core.schema import activity, now
from jupyter_rtc_amprenta.core.schema_record import audit, events
from jupyterhub_service.auth import Identity
from jupyterhub_service.bodies import LinkBody
from jupyterhub_service.errors import BadRequest, Conflict, Forbidden, NotFound
from jupyterhub_service.listing import Page
from jupyterhub_service.retention import Retention

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


@pytest.fixture
async def document_id(rtc: Rtc) -> str:
    """alice's, with bob as a writer."""
    document_id = await rtc.register()
    await rtc.let_in(document_id, BOB)
    return document_id


async def entries(rtc: Rtc, **wanted: Any) -> list[tuple[str, str, str]]:
    answer = await rtc.admin.audit(ROOT, Page(), AuditFilter(**wanted))
    return [(one["username"], one["action"], one["detail"]) for one in answer["audit"]]


@pytest.mark.parametrize("who", [ALICE, replace(server("root"), admin=True)], ids=["person", "server"])
async def test_only_admins_may(rtc: Rtc, document_id: str, who: Identity) -> None:
    for call in (
        rtc.admin.sessions(who, Page(), Wanted()),
        rtc.admin.counts(who),
        rtc.admin.users(who, Page(), "", None),
        rtc.admin.audit(who, Page(), AuditFilter()),
        rtc.admin.end(who, document_id, document_id),
        rtc.admin.delete(who, document_id, document_id),
        rtc.admin.disconnect(who, "bob", "bob"),
        rtc.admin.rename(who, "bob", "robert"),
        rtc.admin.erase(who, "bob", "bob", ""),
    ):
        assert await refused(call, Forbidden) in ("admin_required", "person_required")


async def test_an_admin_sees_all_sessions_and_enters_none(rtc: Rtc, document_id: str) -> None:
    await rtc.register(CAROL)
    await rtc.seen(server("bob"), document_id)
    answer = await rtc.admin.sessions(ROOT, Page(), Wanted())
    assert {session["owner"] for session in answer["sessions"]} == {"alice", "carol"}
    assert (answer["total_count"], answer["active_count"]) == (2, 1)
    (carols,) = (await rtc.admin.sessions(ROOT, Page(), Wanted(owner="carol")))["sessions"]
    assert carols["owner"] == "carol"
    assert await rtc.admin.counts(ROOT) == {
        "users": 3,
        "sessions": 2,
        "active_sessions": 1,
        "online_users": 1,
        "open_invites": 0,
        "gone_users": 0,
    }
    assert await refused(rtc.collaboration.session(ROOT, document_id), Forbidden) == "not_a_participant"


async def test_a_session_is_ended(rtc: Rtc, document_id: str) -> None:
    invite_id = (await rtc.invites.invite(ALICE, document_id, replace(TO_BOB, username="carol")))["invite_id"]
    token = (await rtc.links.make(ALICE, document_id, LinkBody("read-only", 5, None)))["token"]
    assert await refused(rtc.admin.end(ROOT, document_id, "yes"), BadRequest) == "not_confirmed"
    assert await refused(rtc.admin.end(ROOT, "unknown", "unknown"), NotFound) == "session_not_found"
    assert await rtc.admin.end(ROOT, document_id, document_id) == {"success": True, "removed": ["bob"]}
    assert set(await rtc.people(document_id)) == {"alice"}
    assert await refused(rtc.invites.accept(CAROL, invite_id), BadRequest) == "invite_answered"
    assert await refused(rtc.links.accept(CAROL, token), BadRequest) == "link_revoked"
    assert (await rtc.happened(document_id))[-1] == "root ended the session"


async def test_a_session_is_deleted_by_an_admin(rtc: Rtc, document_id: str) -> None:
    assert await refused(rtc.admin.delete(ROOT, document_id, ""), BadRequest) == "not_confirmed"
    await rtc.admin.delete(ROOT, document_id, document_id)
    assert await refused(rtc.collaboration.session(ALICE, document_id), NotFound) == "session_not_found"
    # The audit outlives what it tells of.
    assert (await entries(rtc, document_id=document_id))[0] == ("root", "deleted", "")


async def test_somebody_is_taken_out_of_everybody_elses_sessions(rtc: Rtc, document_id: str) -> None:
    own = await rtc.register(BOB, file_id="own")
    answer = await rtc.admin.disconnect(ROOT, "bob", "bob")
    assert answer["document_ids"] == [document_id]
    assert set(await rtc.people(document_id)) == {"alice"}
    assert set(await rtc.people(own, BOB)) == {"bob"}
    assert await refused(rtc.admin.disconnect(ROOT, "nobody", "nobody"), NotFound) == "user_not_found"


# --- people change ---------------------------------------------------------------------------------------------


async def test_a_renamed_user_keeps_everything(rtc: Rtc, document_id: str) -> None:
    own = await rtc.register(BOB, file_id="own")
    invite_id = (await rtc.invites.invite(ALICE, document_id, replace(TO_BOB, username="carol")))["invite_id"]
    await rtc.admin.rename(ROOT, "bob", "robert")
    await rtc.admin.rename(ROOT, "carol", "caroline")
    robert = person("robert")
    assert (await rtc.people(own, robert))["robert"]["is_owner"]
    assert (await rtc.people(document_id))["robert"]["permissions"] == "read-write"
    assert await rtc.register(robert, file_id="own") == own
    await rtc.invites.accept(person("caroline"), invite_id)
    assert await refused(rtc.admin.rename(ROOT, "alice", "robert"), Conflict) == "user_exists"
    assert await refused(rtc.admin.rename(ROOT, "nobody", "x"), NotFound) == "user_not_found"


async def test_an_erased_user_leaves_sessions_to_a_successor_or_to_nobody(rtc: Rtc, document_id: str) -> None:
    alone = await rtc.register(file_id="alone")
    answer = await rtc.admin.erase(ROOT, "alice", "alice", "bob")
    assert (answer["handed_over"], answer["deleted"]) == ([document_id], [alone])
    people = await rtc.people(document_id, BOB)
    assert set(people) == {"bob"}
    assert people["bob"]["is_owner"]
    session = await rtc.collaboration.session(BOB, document_id)
    assert "alice" not in str(session["session"])
    assert ("root", "erased", "alice") in await entries(rtc)


# --- the audit -------------------------------------------------------------------------------------------------


async def test_the_audit_has_who_what_when_and_from_where(rtc: Rtc, document_id: str) -> None:
    await rtc.seen(server("bob"), document_id)
    await rtc.participants.change(ALICE, document_id, "bob", "read-only")
    await rtc.participants.remove(BOB, document_id, "bob")
    assert await entries(rtc, document_id=document_id) == [
        ("bob", "resigned", ""),
        ("alice", "made_reader", "bob"),
        ("bob", "joined", ""),
        ("bob", "accepted", ""),
        ("alice", "invited", "bob"),
        ("alice", "created", ""),
    ]
    assert await entries(rtc, username="alice", action="invited") == [("alice", "invited", "bob")]
    assert await entries(rtc, since=now()) == []
    assert len(await entries(rtc, until=now())) == 6
    answer = await rtc.admin.audit(ROOT, Page(2), AuditFilter())
    assert {one["address"] for one in answer["audit"]} == {"10.0.0.1"}
    assert "next_cursor" in answer


async def test_refusals_are_in_the_audit_and_it_is_exported(
    rtc: Rtc,
    document_id: str,
    start: Callable[..., Service],
    database_url: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hub = StubHub(("dave",))
    service = start(RTC_DATABASE_URL=database_url, **hub.environment)
    await asyncio.to_thread(service.health, 200)
    url = f"{service.url}/api/v1/collaboration/sessions/{document_id}"
    headers = {"Authorization": "Bearer person-dave"}
    answer = await asyncio.to_thread(lambda: requests.get(url, headers=headers, timeout=20))
    assert answer.status_code == 403
    assert (await asyncio.to_thread(lambda: requests.get(url, timeout=20))).status_code == 401
    status, log = await asyncio.to_thread(service.end)
    hub.end()
    assert (status, "Traceback" in log) == (0, False)
    path = f"/api/v1/collaboration/sessions/{document_id}"
    assert await entries(rtc, action="refused") == [
        ("", "refused", f"GET {path}: not_authenticated"),
        ("dave", "refused", f"GET {path}: not_a_participant"),
    ]
    arguments = ["audit", "--database-url", database_url, "--action", "refused", "--format"]
    assert cli.main([*arguments, "csv"]) == 0
    header, first, second = capsys.readouterr().out.splitlines()
    assert header == "audit_id,created_at,username,address,action,document_id,detail"
    assert f",dave,127.0.0.1,refused,{document_id}," in first
    assert ",,127.0.0.1,refused," in second
    assert cli.main([*arguments, "jsonl", "--user", "nobody"]) == 0
    assert capsys.readouterr().out == ""


async def test_what_is_too_old_is_forgotten(rtc: Rtc, document_id: str) -> None:
    async def count(table: Any) -> int:
        return len(await rtc.database.run(lambda connection: connection.execute(select(table)).all()))

    retention = Retention(rtc.database, replace(rtc.settings, audit_days=30, activity_days=0))
    await rtc.invites.invite(ALICE, document_id, replace(TO_BOB, username="carol"), "key")
    before = await count(audit), await count(activity), await count(events)
    await retention.forget()
    assert (await count(audit), await count(activity), await count(events)) == before
    for table in (audit, activity, events):
        old = update(table).values(created_at=now() - timedelta(days=31))
        await rtc.database.run(lambda connection, old=old: connection.execute(old))
    await retention.forget()
    assert (await count(audit), await count(activity), await count(events)) == (0, before[1], 0)
