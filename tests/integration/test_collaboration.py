"""The rules of documents, sessions, invites and presence, against a real PostgreSQL; the Hub is a list of names."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import event, update
from support.rules import ALICE, BOB, CAROL, FILE, TO_BOB, Rtc, refused, server

from jupyter_rtc_amprenta.core import queries
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.keyring import load_keyring
from jupyter_rtc_amprenta.core.queries_presence import Present
from jupyter_rtc_amprenta.core.schema import invites as invites_table
from jupyter_rtc_amprenta.core.schema import now, presence
from jupyterhub_service import listing
from jupyterhub_service.auth import Identity
from jupyterhub_service.bodies import InviteBody, LinkBody
from jupyterhub_service.errors import BadRequest, Forbidden, NotFound
from jupyterhub_service.listing import Page

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


# --- documents -------------------------------------------------------------------------------------------------


async def test_a_file_gets_its_document_once(rtc: Rtc) -> None:
    first = await rtc.collaboration.register(server("alice"), FILE)
    again = await rtc.collaboration.register(ALICE, FILE)
    assert first == {
        "document_id": first["document_id"],
        "generation": 1,
        "permissions": "read-write",
        "created": True,
        "connection_url": f"ws://yjs-server:1234/doc/{first['document_id']}",
    }
    assert again == first | {"created": False}


async def test_servers_that_register_a_file_at_once_get_one_document(rtc: Rtc) -> None:
    answers = await asyncio.gather(*(rtc.collaboration.register(server("alice"), FILE) for _ in range(8)))
    assert len({answer["document_id"] for answer in answers}) == 1
    assert [answer["created"] for answer in answers].count(True) == 1


async def test_owner_volume_file_and_type_each_tell_documents_apart(rtc: Rtc) -> None:
    ids = [
        await rtc.register(),
        await rtc.register(BOB),
        await rtc.register(volume="other"),
        await rtc.register(file_id="other"),
        await rtc.register(document_type="json"),
    ]
    assert len(set(ids)) == 5


async def test_a_renamed_file_keeps_its_document(rtc: Rtc) -> None:
    document_id = await rtc.register()
    await rtc.register(path="new/name.ipynb", title="New title")
    document = await rtc.collaboration.document(server("alice"), document_id)
    assert document == {
        "document_id": document_id,
        "document_type": "notebook",
        "path": "new/name.ipynb",
        "title": "New title",
        "owner": "alice",
        "permissions": "read-write",
        "generation": 1,
        "connection_url": f"ws://yjs-server:1234/doc/{document_id}",
    }


async def test_a_deleted_document_is_gone_with_all_its_rows(rtc: Rtc) -> None:
    document_id = await rtc.register()
    await rtc.let_in(document_id, BOB)
    await rtc.seen(server("bob"), document_id)
    assert await refused(rtc.collaboration.delete(BOB, document_id), Forbidden) == "owner_required"
    await rtc.collaboration.delete(ALICE, document_id)
    assert await refused(rtc.collaboration.document(ALICE, document_id), NotFound) == "session_not_found"
    assert (await rtc.invites.mine(BOB, Page()))["invites"] == []
    assert await rtc.register() != document_id


# --- sessions --------------------------------------------------------------------------------------------------


async def test_the_list_has_the_references_fields(rtc: Rtc) -> None:
    document_id = await rtc.register()
    answer = await rtc.collaboration.sessions(ALICE, Page())
    (session,) = answer.pop("sessions")
    assert answer == {"total_count": 1, "active_count": 0}
    assert session.pop("last_activity").endswith("Z")
    assert session == {
        "document_id": document_id,
        "document_path": "work/analysis.ipynb",
        "document_type": "notebook",
        "document_title": "Customer Data Analysis",
        "participant_count": 1,
        "is_active": False,
        "is_owner": True,
    }


async def test_the_details_have_the_references_fields(rtc: Rtc) -> None:
    document_id = await rtc.register()
    await rtc.let_in(document_id, BOB, "read-only")
    await rtc.seen(server("bob"), document_id)
    answer = await rtc.collaboration.session(BOB, document_id)
    session = answer.pop("session")
    assert answer == {
        "user_permissions": "read-only",
        "connection_url": f"ws://yjs-server:1234/doc/{document_id}",
        "recent_activity": [
            "alice created the session",
            "alice invited bob",
            "bob accepted the invitation",
            "bob joined the session",
        ],
    }
    assert set(session) == {
        "document_id", "document_path", "document_type", "created_at", "last_activity", "participants",
        "owner", "is_active", "document_title",
    }  # fmt: skip
    owner, guest = session["participants"]
    assert set(guest) == {"id", "username", "display_name", "is_online", "last_seen"}
    assert (guest["username"], guest["display_name"], guest["is_online"]) == ("bob", "Bob B.", True)
    assert (owner["username"], owner["is_online"], owner["last_seen"]) == ("alice", False, None)
    assert session["owner"] == {key: owner[key] for key in ("id", "username", "display_name", "is_online")}
    assert session["is_active"]


async def test_who_takes_no_part_sees_nothing(rtc: Rtc) -> None:
    document_id = await rtc.register()
    assert await refused(rtc.collaboration.session(BOB, document_id), Forbidden) == "not_a_participant"
    assert await refused(rtc.collaboration.session(BOB, "unknown"), NotFound) == "session_not_found"
    assert await refused(rtc.collaboration.document(server("bob"), document_id), Forbidden)
    assert (await rtc.collaboration.sessions(BOB, Page()))["total_count"] == 0


async def test_lists_come_in_pages(rtc: Rtc) -> None:
    ids = [await rtc.register(file_id=str(number)) for number in range(5)]
    found: list[str] = []
    query = {"limit": "2"}
    while True:
        answer = await rtc.collaboration.sessions(ALICE, listing.page(query, (datetime.fromisoformat, str)))
        found += [session["document_id"] for session in answer["sessions"]]
        if "next_cursor" not in answer:
            break
        query["cursor"] = answer["next_cursor"]
    assert found == ids[::-1]
    assert "next_cursor" not in await rtc.collaboration.sessions(ALICE, Page(5))


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["c", "b", "a"]),
        ({"sort": "created_at"}, ["c", "b", "a"]),
        ({"sort": "title"}, ["a", "b", "c"]),
        ({"document_type": "markdown"}, ["b"]),
        ({"owner": "me"}, ["b", "a"]),
        ({"owner": "bob"}, ["c"]),
        ({"owner": "nobody"}, []),
        ({"active": "true"}, ["a"]),
        ({"active": "false"}, ["c", "b"]),
        ({"q": "REPORT"}, ["b"]),
        ({"q": "_%"}, ["c"]),
        ({"q": "work/"}, ["c", "b", "a"]),
        ({"owner": "me", "active": "false"}, ["b"]),
    ],
    ids=str,
)
async def test_filters_and_order(rtc: Rtc, query: dict[str, str], found: list[str]) -> None:
    first = await rtc.register(file_id="1", title="Analysis")
    titles = {first: "a"}
    await rtc.seen(server("alice"), first)
    titles[await rtc.register(file_id="2", title="Report", document_type="markdown")] = "b"
    bobs = await rtc.register(BOB, title="Under_%score")
    titles[bobs] = "c"
    invited = await rtc.invites.invite(BOB, bobs, InviteBody("alice", "", "read-only"))
    await rtc.invites.accept(ALICE, invited["invite_id"])
    wanted = listing.wanted(query, "alice")
    answer = await rtc.collaboration.sessions(ALICE, Page(), wanted)
    assert [titles[session["document_id"]] for session in answer["sessions"]] == found
    assert answer["total_count"] == len(found)
    assert answer["active_count"] == found.count("a")
    # The same, one by one.
    limited, paged = {"limit": "1"}, []
    while True:
        part = await rtc.collaboration.sessions(ALICE, listing.page(limited, listing.SESSION_KEYS[wanted.sort]), wanted)
        paged += part["sessions"]
        if "next_cursor" not in part:
            break
        limited["cursor"] = part["next_cursor"]
    assert paged == answer["sessions"]


async def test_the_edits_of_the_log_count_as_activity(rtc: Rtc) -> None:
    first, second = await rtc.register(file_id="1"), await rtc.register(file_id="2")
    pending = queries.Pending(first, 1, "w" * 32, 1, b"\0\0")
    await rtc.database.run(queries.append, [pending])
    sessions = (await rtc.collaboration.sessions(ALICE, Page()))["sessions"]
    assert [session["document_id"] for session in sessions] == [first, second]


async def test_no_list_asks_the_database_for_each_row(rtc: Rtc) -> None:
    statements: list[str] = []
    for engine in rtc.database.engines:
        event.listen(engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))

    async def count() -> int:
        statements.clear()
        await rtc.collaboration.sessions(ALICE, Page())
        await rtc.collaboration.session(ALICE, document_id)
        await rtc.participants.listed(ALICE, document_id, Page())
        await rtc.invites.of_session(ALICE, document_id, Page())
        await rtc.collaboration.activity(ALICE, document_id, Page())
        await rtc.seen(server("alice"), document_id)
        return len(statements)

    document_id = await rtc.register()
    await rtc.seen(server("alice"), document_id)
    alone = await count()
    for number in range(5):
        await rtc.register(file_id=str(number))
    await rtc.let_in(document_id, BOB)
    await rtc.let_in(document_id, CAROL)
    assert await count() == alone


# --- invites ---------------------------------------------------------------------------------------------------


async def test_the_answer_to_an_invite(rtc: Rtc) -> None:
    document_id = await rtc.register()
    answer = await rtc.invites.invite(ALICE, document_id, TO_BOB)
    assert set(answer) == {"success", "invite_id", "invited_user", "document_id", "message", "expires_at"}
    assert answer["message"] == "Successfully invited bob to collaborate on document"
    assert (answer["success"], answer["invited_user"], answer["document_id"]) == (True, "bob", document_id)


async def test_an_accepted_invite_lets_in_with_its_permissions(rtc: Rtc) -> None:
    document_id = await rtc.register()
    invited = await rtc.invites.invite(ALICE, document_id, InviteBody("bob", "", "read-only"))
    answer = await rtc.invites.accept(BOB, invited["invite_id"])
    assert answer == {
        "success": True,
        "document_id": document_id,
        "permissions": "read-only",
        "open_url": f"/hub/user-redirect/rtc/join/{document_id}",
    }
    assert (await rtc.collaboration.document(server("bob"), document_id))["permissions"] == "read-only"


async def test_who_can_be_invited(rtc: Rtc) -> None:
    document_id = await rtc.register()
    await rtc.let_in(document_id, CAROL)

    async def invite(who: Identity, whom: str, what: str = document_id) -> None:
        await rtc.invites.invite(who, what, InviteBody(whom, "", "read-write"))

    assert await refused(invite(ALICE, "alice"), BadRequest) == "self_invite"
    assert await refused(invite(ALICE, "carol"), BadRequest) == "already_participant"
    assert await refused(invite(ALICE, "nobody"), NotFound) == "user_not_found"
    assert await refused(invite(ALICE, "bob", "unknown"), NotFound) == "session_not_found"
    assert await refused(invite(CAROL, "bob"), Forbidden) == "owner_required"
    assert await refused(invite(BOB, "bob"), Forbidden) == "not_a_participant"


async def test_inviting_again_renews_the_open_invite(rtc: Rtc) -> None:
    document_id = await rtc.register()
    first = await rtc.invites.invite(ALICE, document_id, TO_BOB)
    again = await rtc.invites.invite(ALICE, document_id, replace(TO_BOB, permissions="read-only"))
    assert again["invite_id"] == first["invite_id"]
    (invite,) = (await rtc.invites.mine(BOB, Page()))["invites"]
    assert (invite["permissions"], invite["state"]) == ("read-only", "pending")
    assert invite["document_title"] == "Customer Data Analysis"


async def test_an_invite_is_answered_once_and_by_its_user(rtc: Rtc) -> None:
    document_id = await rtc.register()
    invite_id = (await rtc.invites.invite(ALICE, document_id, TO_BOB))["invite_id"]
    for call in (rtc.invites.accept, rtc.invites.decline, rtc.invites.revoke):
        assert await refused(call(CAROL, invite_id), NotFound) == "invite_not_found"
    assert await refused(rtc.invites.accept(ALICE, invite_id), NotFound) == "invite_not_found"
    assert await refused(rtc.invites.revoke(BOB, invite_id), Forbidden) == "owner_required"
    await rtc.invites.decline(BOB, invite_id)
    for call, who in ((rtc.invites.accept, BOB), (rtc.invites.decline, BOB), (rtc.invites.revoke, ALICE)):
        assert await refused(call(who, invite_id), BadRequest) == "invite_answered"
    assert await refused(rtc.collaboration.session(BOB, document_id), Forbidden)


async def test_two_answers_at_once_are_one(rtc: Rtc) -> None:
    document_id = await rtc.register()
    invite_id = (await rtc.invites.invite(ALICE, document_id, TO_BOB))["invite_id"]
    calls = [rtc.invites.accept(BOB, invite_id), rtc.invites.decline(BOB, invite_id)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(result, BadRequest) for result in results].count(True) == 1


async def test_an_invite_expires(rtc: Rtc) -> None:
    document_id = await rtc.register()
    invite_id = (await rtc.invites.invite(ALICE, document_id, TO_BOB))["invite_id"]
    late = update(invites_table).values(expires_at=now() - timedelta(seconds=1))
    await rtc.database.run(lambda connection: connection.execute(late))
    assert await refused(rtc.invites.accept(BOB, invite_id), BadRequest) == "invite_expired"
    (invite,) = (await rtc.invites.of_session(ALICE, document_id, Page()))["invites"]
    assert invite["state"] == "expired"
    await rtc.invites.invite(ALICE, document_id, TO_BOB)
    await rtc.invites.accept(BOB, invite_id)


async def test_open_invites_are_listed_first(rtc: Rtc) -> None:
    ids = [await rtc.register(file_id=str(number)) for number in range(3)]
    made = [(await rtc.invites.invite(ALICE, document_id, TO_BOB))["invite_id"] for document_id in ids]
    await rtc.invites.decline(BOB, made[2])
    listed = (await rtc.invites.mine(BOB, Page()))["invites"]
    assert [invite["invite_id"] for invite in listed] == [made[1], made[0], made[2]]


async def test_a_revoked_invite_is_told_in_the_session(rtc: Rtc) -> None:
    document_id = await rtc.register()
    invite_id = (await rtc.invites.invite(ALICE, document_id, TO_BOB))["invite_id"]
    await rtc.invites.revoke(ALICE, invite_id)
    assert (await rtc.happened(document_id))[-1] == "alice withdrew the invitation of bob"


# --- presence --------------------------------------------------------------------------------------------------


async def online(rtc: Rtc, document_id: str) -> list[str]:
    answer = await rtc.participants.listed(ALICE, document_id, Page())
    return [one["username"] for one in answer["participants"] if one["is_online"]]


async def test_a_report_is_all_that_a_server_has_open(rtc: Rtc) -> None:
    first, second = await rtc.register(file_id="1"), await rtc.register(file_id="2")
    await rtc.seen(server("alice"), first, second)
    assert await online(rtc, first) == await online(rtc, second) == ["alice"]
    await rtc.seen(server("alice"), second)
    assert await online(rtc, first) == []
    (alice,) = (await rtc.participants.listed(ALICE, first, Page()))["participants"]
    assert alice["last_seen"] is not None
    assert (await rtc.collaboration.sessions(ALICE, Page()))["active_count"] == 1


async def test_joining_and_leaving_are_told_once(rtc: Rtc) -> None:
    document_id = await rtc.register()
    for _ in range(3):
        await rtc.seen(server("alice"), document_id)
    await rtc.presence.report(server("alice"), [Present(document_id, 0, None)])
    await rtc.seen(server("alice"))
    assert await rtc.happened(document_id) == [
        "alice created the session",
        "alice joined the session",
        "alice left the session",
    ]


async def test_a_user_with_two_servers_leaves_with_the_last(rtc: Rtc) -> None:
    document_id = await rtc.register()
    await rtc.seen(server("alice"), document_id)
    await rtc.seen(server("alice", "gpu"), document_id)
    await rtc.seen(server("alice"))
    assert await online(rtc, document_id) == ["alice"]
    await rtc.seen(server("alice", "gpu"))
    assert await online(rtc, document_id) == []
    assert (await rtc.happened(document_id)).count("alice joined the session") == 1


async def test_a_silent_server_is_offline(rtc: Rtc) -> None:
    document_id = await rtc.register()
    await rtc.seen(server("alice"), document_id)
    silent = now() - timedelta(seconds=3 * rtc.settings.heartbeat_seconds + 1)
    await rtc.database.run(lambda connection: connection.execute(update(presence).values(last_seen=silent)))
    assert await online(rtc, document_id) == []
    assert not (await rtc.collaboration.session(ALICE, document_id))["session"]["is_active"]


async def test_what_is_not_ones_own_is_refused_in_a_report(rtc: Rtc) -> None:
    mine, alices = await rtc.register(BOB), await rtc.register()
    answer = await rtc.seen(server("bob"), mine, alices, "unknown")
    assert answer == {"accepted": [mine], "refused": [alices, "unknown"]}
    assert await online(rtc, alices) == []


async def test_where_somebody_is(rtc: Rtc) -> None:
    document_id = await rtc.register()
    await rtc.presence.report(server("alice"), [Present(document_id, 1, "cell 3")])
    await rtc.presence.report(server("alice", "gpu"), [Present(document_id, 1, "cell 7")])
    (alice,) = (await rtc.participants.listed(ALICE, document_id, Page()))["participants"]
    assert alice["place"] == "cell 7"


async def test_reports_of_many_servers_at_once(rtc: Rtc) -> None:
    ids = [await rtc.register(file_id=str(number)) for number in range(10)]
    for document_id in ids:
        await rtc.let_in(document_id, BOB)
    reports = []
    for _ in range(10):
        reports += [rtc.seen(server("alice"), *ids), rtc.seen(server("bob"), *ids[::-1])]
        reports += [rtc.seen(server("alice")), rtc.seen(server("bob"))]
    await asyncio.gather(*reports)


# --- tokens ----------------------------------------------------------------------------------------------------


async def test_a_document_token_says_what_its_holder_may(rtc: Rtc) -> None:
    document_id = await rtc.register()
    await rtc.let_in(document_id, BOB, "read-only")
    answer = await rtc.collaboration.document_token(server("bob"), document_id)
    claims = rtc.keyring.document_claims(answer["token"])
    assert (claims.username, claims.document_id, claims.permissions) == ("bob", document_id, "read-only")
    assert (claims.generation, claims.via) == (1, "bob/")
    assert set(answer) == {
        "token", "token_type", "expires_at", "permissions", "generation", "connection_url",
    }  # fmt: skip
    of_person = await rtc.collaboration.document_token(BOB, document_id)
    assert rtc.keyring.document_claims(of_person["token"]).via == ""


async def test_a_stranger_gets_no_document_token(rtc: Rtc) -> None:
    document_id = await rtc.register()
    assert await refused(rtc.collaboration.document_token(BOB, document_id), Forbidden) == "not_a_participant"


async def test_an_api_token_stands_for_a_person_and_renews_nothing(rtc: Rtc) -> None:
    token = rtc.collaboration.api_token(ALICE)["token"]
    assert rtc.keyring.api_stamp(token).username == "alice"
    with pytest.raises(Forbidden, match="Hub token"):
        rtc.collaboration.api_token(replace(ALICE, by_hub=False))


async def test_all_processes_get_one_signing_key(database: Database) -> None:
    rings = await asyncio.gather(*(database.run(load_keyring, "") for _ in range(4)))
    assert len({str(ring.jwks()) for ring in rings}) == 1


# --- servers ---------------------------------------------------------------------------------------------------


async def test_a_server_decides_nothing(rtc: Rtc) -> None:
    document_id = await rtc.register()
    invite_id = (await rtc.invites.invite(ALICE, document_id, TO_BOB))["invite_id"]
    alices, bobs = server("alice"), server("bob")
    for call in (
        rtc.collaboration.delete(alices, document_id),
        rtc.collaboration.sessions(alices, Page()),
        rtc.collaboration.documents(alices, Page()),
        rtc.collaboration.session(alices, document_id),
        rtc.participants.listed(alices, document_id, Page()),
        rtc.invites.invite(alices, document_id, TO_BOB),
        rtc.invites.mine(bobs, Page()),
        rtc.invites.of_session(alices, document_id, Page()),
        rtc.invites.accept(bobs, invite_id),
        rtc.invites.decline(bobs, invite_id),
        rtc.invites.revoke(alices, invite_id),
        rtc.invites.renew(alices, invite_id, None),
        rtc.links.make(alices, document_id, LinkBody("read-only", 1, None)),
        rtc.links.listed(alices, document_id, Page()),
        rtc.links.revoke(alices, document_id, "unknown"),
        rtc.links.look(bobs, "unknown"),
        rtc.links.accept(bobs, "unknown"),
        rtc.participants.change(alices, document_id, "alice", "read-only"),
        rtc.participants.remove(alices, document_id, "alice"),
        rtc.participants.hand_over(alices, document_id, "bob"),
        rtc.collaboration.activity(alices, document_id, Page()),
    ):
        assert await refused(call, Forbidden) == "person_required"
    with pytest.raises(Forbidden):
        rtc.collaboration.api_token(alices)
    assert await refused(rtc.presence.report(ALICE, []), Forbidden) == "server_required"
