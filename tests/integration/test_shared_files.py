"""The rules of files that several servers have: who may enter, who saves, what is taken in once; and over HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from pycrdt import Doc, Text
from sqlalchemy import update
from support.rules import ALICE, BOB, CAROL, Rtc, person, refused, server
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from jupyter_rtc_amprenta.core import queries, queries_files, queries_participants
from jupyter_rtc_amprenta.core.errors import FileChanged, FileHeld, GenerationChanged
from jupyter_rtc_amprenta.core.queries_files import Claim, Shown
from jupyter_rtc_amprenta.core.schema import sessions
from jupyterhub_service.bodies import ChangeBody, DocumentBody
from jupyterhub_service.errors import BadRequest, Conflict, Forbidden, NotFound

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

DIGEST, OTHER = "a" * 64, "b" * 64
FILE = DocumentBody("team", "text:file", "text", "sub/notes.txt", "Notes", True, DIGEST)


@pytest.fixture
def team(rtc: Rtc) -> Rtc:
    rtc.hub.members |= {"alice": ["team"], "bob": ["leads", "others"], "carol": ["others"]}
    return rtc


async def registered(rtc: Rtc, who: Any = ALICE, **change: Any) -> str:
    return (await rtc.collaboration.register(who, replace(FILE, **change)))["document_id"]


# --- who may enter ---------------------------------------------------------------------------------------------


async def test_who_opens_it_first_owns_it_and_the_others_write(team: Rtc) -> None:
    document_id = await registered(team, server("alice"))
    assert await registered(team, server("bob")) == document_id
    people = await team.people(document_id)
    assert {name: (one["is_owner"], one["permissions"]) for name, one in people.items()} == {
        "alice": (True, "read-write"),
        "bob": (False, "read-write"),
    }
    assert (await team.happened(document_id))[-1] == "bob opened the shared file"


async def test_servers_that_register_it_at_once_get_one_document(team: Rtc) -> None:
    who = [server("alice"), server("bob")] * 4
    ids = await asyncio.gather(*(registered(team, one) for one in who))
    assert len(set(ids)) == 1


async def test_the_hub_is_asked_for_the_groups(team: Rtc) -> None:
    assert await refused(registered(team, server("carol")), Forbidden) == "not_in_group"
    assert await refused(registered(team, server("mallory")), Forbidden) == "not_in_group"
    assert await refused(registered(team, volume="elsewhere"), BadRequest) == "unknown_volume"


async def test_a_newcomer_must_have_the_file(team: Rtc) -> None:
    document_id = await registered(team)
    assert await refused(registered(team, BOB, digest=OTHER), Conflict) == "file_unknown"
    assert await refused(team.collaboration.document(BOB, document_id), Forbidden) == "not_a_participant"
    # Who takes part already may find it changed.
    assert await registered(team, ALICE, digest=OTHER) == document_id


async def test_what_was_saved_lately_is_known_and_what_was_saved_long_ago_is_not(team: Rtc) -> None:
    document_id = await registered(team)
    before = DIGEST
    for number in range(20):
        digest = f"{number:064x}"
        claim = Claim(document_id, "volume:team", 1, "1" * 32, "alice/", 60, before)
        await team.database.run(queries_files.claim_save, claim, Shown(digest, None))
        before = digest
    assert await refused(registered(team, BOB, digest=DIGEST), Conflict) == "file_unknown"
    assert await registered(team, BOB, digest=f"{15:064x}") == document_id


async def test_a_volume_of_that_name_in_somebodys_home_is_another_file(team: Rtc) -> None:
    shared = await registered(team)
    private = await registered(team, server("mallory"), shared=False)
    assert private != shared
    row = await team.collaboration.document(person("mallory"), private)
    assert "volume" not in row


async def test_each_kind_of_room_is_a_document_of_its_own(team: Rtc) -> None:
    ids = [await registered(team), await registered(team, file_id="json:notebook", document_type="notebook")]
    assert len(set(ids)) == 2


async def test_who_left_the_group_gets_no_token_and_takes_part_no_longer(team: Rtc) -> None:
    document_id = await registered(team)
    await registered(team, server("bob"))
    assert (await team.collaboration.document_token(server("bob"), document_id))[
        "permissions"
    ] == "read-write"
    team.hub.members["bob"] = []
    assert await refused(team.collaboration.document_token(BOB, document_id), Forbidden) == "not_in_group"
    assert set(await team.people(document_id)) == {"alice"}


async def test_who_was_invited_too_stays_without_the_group(team: Rtc) -> None:
    document_id = await registered(team)
    await registered(team, server("bob"))
    await team.let_in(document_id, CAROL)
    await team.database.run(_invited_too, document_id)
    team.hub.members = {"alice": ["team"]}
    for who in (BOB, CAROL):
        assert (await team.collaboration.document_token(who, document_id))["permissions"] == "read-write"


def _invited_too(connection: Any, document_id: str) -> None:
    queries_participants.add_participant(connection, document_id, "bob", "read-only")


async def test_its_owner_needs_no_group(team: Rtc) -> None:
    document_id = await registered(team)
    team.hub.members = {}
    assert await team.collaboration.document_token(ALICE, document_id)


# --- moved and deleted -----------------------------------------------------------------------------------------


async def test_a_moved_file_is_the_same_document_for_all(team: Rtc) -> None:
    document_id = await registered(team)
    await registered(team, server("bob"))
    await team.collaboration.change(server("bob"), document_id, ChangeBody("new.txt"))
    assert await registered(team, path="new.txt") == document_id
    assert await registered(team) != document_id
    described = await team.collaboration.document(ALICE, document_id)
    assert (described["volume"], described["volume_path"], described["path"]) == (
        "team",
        "new.txt",
        "team/new.txt",
    )


async def test_only_who_may_write_moves_or_deletes_it(team: Rtc) -> None:
    document_id = await registered(team)
    await team.let_in(document_id, CAROL, "read-only")
    for change in (ChangeBody("new.txt"), ChangeBody(None)):
        call = team.collaboration.change(server("carol"), document_id, change)
        assert await refused(call, Forbidden) == "writer_required"
        assert (
            await refused(team.collaboration.change(BOB, document_id, change), Forbidden)
            == "not_a_participant"
        )


async def test_a_file_does_not_take_anothers_place(team: Rtc) -> None:
    document_id = await registered(team)
    other = await registered(team, path="other.txt")
    assert (
        await refused(team.collaboration.change(ALICE, other, ChangeBody(FILE.path)), Conflict)
        == "path_taken"
    )
    assert await registered(team) == document_id


async def test_a_deletion_ends_the_session_and_says_why(team: Rtc) -> None:
    document_id = await registered(team)
    await registered(team, server("bob"))
    await team.collaboration.change(server("bob"), document_id, ChangeBody(None))
    assert await refused(team.collaboration.document_token(ALICE, document_id), NotFound) == "session_over"
    session = (await team.collaboration.session(ALICE, document_id))["session"]
    assert session["closed_reason"] == "bob deleted its file." and session["closed_at"]
    assert (await team.happened(document_id))[-1] == "bob deleted the file: the session is over"
    assert await registered(team) != document_id


async def test_of_a_home_only_its_user_says_that_a_file_was_deleted(team: Rtc) -> None:
    document_id = await team.register()
    await team.let_in(document_id, BOB)
    call = team.collaboration.change(server("bob"), document_id, ChangeBody(None))
    assert await refused(call, Forbidden) == "file_owner_required"
    await team.collaboration.change(server("alice"), document_id, ChangeBody(None))
    assert await refused(team.collaboration.document_token(BOB, document_id), NotFound) == "session_over"
    assert await team.register() != document_id


# --- claims ----------------------------------------------------------------------------------------------------


class Claims:
    """Claims on one file of alice's."""

    def __init__(self, rtc: Rtc, document_id: str) -> None:
        self.rtc, self.document_id = rtc, document_id

    async def save(self, holder: str, found: str, new: str, seconds: float = 60, **more: Any) -> None:
        claim = Claim(self.document_id, "volume:team", 1, holder * 32, holder, seconds, found)
        await self.rtc.database.run(queries_files.claim_save, claim, Shown(new, new.encode()), **more)

    async def change(self, holder: str, base: str, new: str, text: str, generation: int = 1) -> int:
        claim = Claim(self.document_id, "volume:team", generation, holder * 32, holder, 60, new)
        made = Doc({"source": Text(text)}).get_update()
        return await self.rtc.database.run(queries_files.claim_change, claim, base, Shown(new, b"s"), made)

    async def known(self) -> list[str]:
        known = await self.rtc.database.run(queries_files.known_contents, self.document_id, "volume:team", 1)
        return [shown.digest[0] for shown in known]


@pytest.fixture
async def claims(team: Rtc) -> Claims:
    return Claims(team, await registered(team))


def d(letter: str) -> str:
    return letter * 64


async def test_one_saves_until_its_lease_ends(claims: Claims) -> None:
    await claims.save("1", d("a"), d("b"), seconds=0.2)
    with pytest.raises(FileHeld, match="saved by 1"):
        await claims.save("2", d("b"), d("c"))
    await asyncio.sleep(0.25)
    await claims.save("2", d("b"), d("c"))
    with pytest.raises(FileHeld):
        await claims.save("1", d("c"), d("d"))


async def test_who_saves_may_leave_it_to_others_at_once(claims: Claims) -> None:
    await claims.save("1", d("a"), d("b"))
    await claims.rtc.database.run(queries_files.release, claims.document_id, "volume:team", "2" * 32)
    with pytest.raises(FileHeld):
        await claims.save("2", d("b"), d("c"))
    await claims.rtc.database.run(queries_files.release, claims.document_id, "volume:team", "1" * 32)
    await claims.save("2", d("b"), d("c"))


async def test_the_content_before_and_the_one_after_are_known(claims: Claims) -> None:
    await claims.save("1", d("a"), d("b"))
    assert await claims.known() == ["b", "a"]
    # It ended before it wrote: the file holds the content before.
    await claims.save("1", d("a"), d("c"))
    assert await claims.known() == ["c", "a"]
    await claims.save("1", d("c"), d("d"))
    assert await claims.known() == ["d", "c"]


async def test_once_it_is_written_the_content_before_is_a_change(claims: Claims) -> None:
    await claims.save("1", d("a"), d("b"))
    wrote = queries_files.note_written
    await claims.rtc.database.run(wrote, claims.document_id, "volume:team", "2" * 32, d("b"))
    await claims.rtc.database.run(wrote, claims.document_id, "volume:team", "1" * 32, d("c"))
    assert await claims.known() == ["b", "a"], "another one, or another content"
    await claims.rtc.database.run(wrote, claims.document_id, "volume:team", "1" * 32, d("b"))
    assert await claims.known() == ["b", "b"]
    with pytest.raises(FileChanged):
        await claims.save("1", d("a"), d("c"))


async def test_what_nobody_wrote_is_not_overwritten(claims: Claims) -> None:
    await claims.save("1", d("a"), d("b"))
    with pytest.raises(FileChanged):
        await claims.save("1", d("e"), d("c"))
    await claims.save("1", d("e"), d("c"), accounted_for=True)
    assert await claims.known() == ["c", "e"]


async def test_a_change_is_taken_in_once(claims: Claims) -> None:
    await claims.save("1", d("a"), d("b"))
    assert await claims.change("1", d("b"), d("e"), "script") == 1
    with pytest.raises(FileChanged):
        await claims.change("1", d("b"), d("e"), "script")
    assert await claims.known() == ["e", "e"]
    await claims.save("1", d("e"), d("f"))


async def test_of_two_that_take_a_change_in_at_once_one_does(claims: Claims) -> None:
    await claims.save("1", d("a"), d("b"), seconds=0.01)
    outcomes = await asyncio.gather(
        *(claims.change(holder, d("b"), d("e"), "script") for holder in "1234"), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in outcomes) == ["FileHeld"] * 3 + ["int"]


async def test_what_is_known_of_a_history_is_no_base_for_another(claims: Claims) -> None:
    await claims.save("1", d("a"), d("b"))
    generation = await claims.rtc.database.run(queries.reset_document, claims.document_id)
    known = queries_files.known_contents
    assert await claims.rtc.database.run(known, claims.document_id, "volume:team", generation) == []
    with pytest.raises(GenerationChanged):
        await claims.change("1", d("b"), d("e"), "script")
    await claims.change("1", d("b"), d("e"), "script", generation)
    assert await claims.rtc.database.run(known, claims.document_id, "volume:team", generation) == [
        Shown(d("e"), b"s"),
        Shown(d("e"), b"s"),
    ]


# --- over HTTP -------------------------------------------------------------------------------------------------


class Door:
    """`/doc/{id}/file` of a running Y.js server."""

    def __init__(self, yjs: Any, document_id: str) -> None:
        self.yjs, self.document_id = yjs, document_id

    async def ask(
        self, method: str, body: Any = None, query: str = "", **token: Any
    ) -> tuple[int, dict[str, Any]]:
        url = f"http://{self.yjs.url}/doc/{self.document_id}/file{query}"
        headers = {
            "Authorization": f"Bearer {token.pop('text', None) or self.yjs.token(self.document_id, **token)}"
        }
        data = None if body is None else body if isinstance(body, str) else json.dumps(body)
        answer = await AsyncHTTPClient().fetch(
            HTTPRequest(url, method, headers=headers, body=data), raise_error=False
        )
        return answer.code, json.loads(answer.body or b"{}")


def claim(**change: Any) -> dict[str, Any]:
    return {
        "place": "volume:team",
        "holder": "1" * 32,
        "found": DIGEST,
        "digest": OTHER,
        "snapshot": "",
    } | change


@pytest.fixture
async def door(yjs: Any) -> Door:
    document_id = await yjs.document("alice", bob="read-write", carol="read-only")
    shared = update(sessions).values(shared=True, volume="team", file_owner=None)
    await yjs.database.run(lambda connection: connection.execute(shared))
    return Door(yjs, document_id)


async def test_a_save_is_claimed_and_told(door: Door) -> None:
    assert await door.ask("POST", claim()) == (200, {"seconds": 30.0})
    status, answer = await door.ask("GET", query="?place=volume:team", user="bob")
    assert (status, [one["digest"] for one in answer["contents"]]) == (200, [OTHER, DIGEST])
    status, answer = await door.ask("POST", claim(holder="2" * 32, found=OTHER), user="bob")
    assert (status, answer["detail"]) == (423, "The file is saved by alice.")
    assert (await door.ask("DELETE", query=f"?place=volume:team&holder={'1' * 32}"))[0] == 204
    assert (await door.ask("POST", claim(holder="2" * 32, found=OTHER), user="bob"))[0] == 200


async def test_a_change_that_is_taken_in_is_committed_and_told_to_all(door: Door) -> None:
    client = door.yjs.client(door.document_id)
    await client.connect()
    await asyncio.wait_for(client.synced.wait(), 5)
    await door.ask("POST", claim())
    made = base64.b64encode(Doc({"source": Text("script")}).get_update()).decode()
    change = claim(found="c" * 64, digest="c" * 64, base=OTHER, update=made)
    assert (await door.ask("PUT", change))[0] == 200
    assert (await door.ask("PUT", change))[0] == 409
    for _ in range(100):
        if str(client.doc.get("source", type=Text)) == "script":
            break
        await asyncio.sleep(0.02)
    assert str(client.doc.get("source", type=Text)) == "script"
    await client.close()


async def test_a_change_that_hangs_in_the_air_is_refused(door: Door) -> None:
    document: Doc = Doc()
    text = document.get("source", type=Text)
    text.insert(0, "before")
    before = document.get_state()
    text.insert(6, " after")
    await door.ask("POST", claim())
    made = base64.b64encode(document.get_update(before)).decode()
    status, _ = await door.ask("PUT", claim(found="c" * 64, digest="c" * 64, base=OTHER, update=made))
    assert status == 400


@pytest.mark.parametrize(
    ("method", "body", "status"),
    [
        ("POST", "no JSON", 400),
        ("POST", "[]", 400),
        ("POST", claim(place="elsewhere"), 400),
        ("POST", claim(place="volume:../x"), 400),
        ("POST", claim(holder="x"), 400),
        ("POST", claim(found=""), 400),
        ("POST", claim(digest=7), 400),
        ("POST", claim(snapshot="%"), 400),
        ("POST", claim(place="volume:other"), 409),
        ("PUT", claim(base=OTHER, update="AAE="), 400),
        ("PUT", claim(update=""), 400),
    ],
    ids=[
        "text", "a list", "no place", "a path", "holder", "found", "digest", "snapshot", "another volume", "no update",
        "no base",
    ],
)  # fmt: skip
async def test_what_is_malformed_is_refused(door: Door, method: str, body: Any, status: int) -> None:
    assert (await door.ask(method, body))[0] == status


async def test_who_may_not_write_neither_saves_nor_takes_in(door: Door) -> None:
    for more in (
        {"user": "carol", "permissions": "read-only"},
        {"user": "alice", "permissions": "read-only"},
    ):
        assert (await door.ask("POST", claim(), **more))[0] == 403
        assert (await door.ask("PUT", claim(base=OTHER, update="AAA="), **more))[0] == 403
    assert (await door.ask("POST", claim(), user="mallory"))[0] == 403
    assert (await door.ask("POST", claim(), text="nonsense"))[0] == 401
    assert (await door.ask("POST", claim(), generation=2))[0] == 409
    other = door.yjs.token("another")
    assert (await door.ask("POST", claim(), text=other))[0] == 403
    assert (await door.ask("GET", query="?place=volume:team", user="mallory"))[0] == 403


async def test_a_home_is_its_users_alone(door: Door) -> None:
    """A reader's server saves the copy in its home; what others say of theirs is not about it."""
    carols = {"user": "carol", "permissions": "read-only"}
    assert (await door.ask("POST", claim(place="home:abc"), **carols))[0] == 200
    assert (await door.ask("POST", claim(place="home:abc", holder="2" * 32)))[0] == 200
    await door.ask("DELETE", query=f"?place=home:abc&holder={'1' * 32}")
    status, _ = await door.ask("POST", claim(place="home:abc", holder="3" * 32, found=OTHER), **carols)
    assert status == 423


async def test_a_session_that_is_over_is_not_saved(door: Door) -> None:
    over = update(sessions).values(closed_at=sessions.c.created_at, closed_reason="alice deleted its file.")
    await door.yjs.database.run(lambda connection: connection.execute(over))
    assert (await door.ask("POST", claim()))[0] == 404
    client = door.yjs.client(door.document_id)
    await client.connect()
    for _ in range(100):
        if client.close_code:
            break
        await asyncio.sleep(0.02)
    assert client.close_code == 4404
