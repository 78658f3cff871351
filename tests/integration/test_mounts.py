"""One file in several servers: a shared volume, claims, saves by one, outside changes once, moves and deletions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pycrdt import Doc, Text
from support.mounts import MountHub, MountServer
from support.yjs_client import until

from jupyter_rtc_amprenta import agreedsaver
from jupyter_rtc_amprenta.core import queries
from jupyter_rtc_amprenta.core.content import digest
from jupyter_rtc_amprenta.core.documentlog import DocumentLog
from jupyter_rtc_amprenta.core.errors import ServiceError, ServiceUnavailable
from jupyter_rtc_amprenta.core.merge import merge_update

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


class Team:
    """alice and bob, who have the volume."""

    def __init__(self, hub: MountHub, folder: Path) -> None:
        self.hub, self.folder = hub, folder
        self.alice = MountServer(hub, "alice", folder / "alice")
        self.bob = MountServer(hub, "bob", folder / "bob")
        self.servers = [self.alice, self.bob]
        self.file = hub.volume / "notes.txt"
        self.file.write_text("base\n")

    async def both_open(self) -> None:
        for server in self.servers:
            await server.start()

    async def all_show(self, text: str) -> None:
        open_ = [server for server in self.servers if server.is_open]
        await until(
            lambda: all(one.tab.text == text for one in open_), f"{text!r}, not {[o.tab.text for o in open_]}"
        )
        await until(lambda: self.file.read_text() == text, "the file", timeout=20)
        await until_stored(self.hub, open_[0].document_id, text)

    def kept_beside(self) -> list[str]:
        return [path.read_text() for path in sorted(self.folder.rglob("*(conflict *"))]


async def until_stored(hub: MountHub, document_id: str, text: str) -> None:
    for _ in range(200):
        if await hub.stored(document_id) == text:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"the log holds {await hub.stored(document_id)!r}, not {text!r}")


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreedsaver, "_ASK_AGAIN_SECONDS", 0.3)
    monkeypatch.setattr(agreedsaver, "_LOOK_SECONDS", 0.2)


@pytest.fixture
async def team(database_url: str, tmp_path: Path) -> AsyncIterator[Team]:
    hub = MountHub(database_url, tmp_path / "volume")
    await hub.start()
    team = Team(hub, tmp_path)
    yield team
    for server in team.servers:
        await server.stop()
    await hub.end_all()


async def test_one_file_is_one_document_for_all_whoever_opens_it_first(team):
    await team.both_open()
    assert team.alice.document_id == team.bob.document_id
    team.alice.tab.type("alice ", 0)
    team.bob.tab.type("bob", 4)
    await until(
        lambda: (
            len(team.alice.tab.text) == len("alice bobbase\n") and team.alice.tab.text == team.bob.tab.text
        )
    )
    await team.all_show(team.alice.tab.text)
    assert team.kept_beside() == []


async def test_an_outside_change_is_taken_in_once(team):
    await team.both_open()
    team.alice.tab.type("alice ", 0)
    await team.all_show("alice base\n")
    team.file.write_text("alice base\nscript\n")
    await team.all_show("alice base\nscript\n")
    await asyncio.sleep(3)
    await team.all_show("alice base\nscript\n")
    assert team.kept_beside() == []


async def test_an_outside_change_after_which_nobody_typed(team):
    await team.both_open()
    team.file.write_text("base\nscript\n")
    await team.all_show("base\nscript\n")
    assert team.kept_beside() == []


async def test_an_outside_change_to_a_file_that_nobody_has_open(team):
    await team.both_open()
    team.alice.tab.type("alice ", 0)
    await team.all_show("alice base\n")
    for server in team.servers:
        await server.stop()
    team.file.write_text("alice base\nscript\n")
    await team.both_open()
    await team.all_show("alice base\nscript\n")
    assert team.kept_beside() == []


@pytest.mark.parametrize("who", ["alice", "bob"])
async def test_another_server_takes_over_from_one_that_was_killed(team, who):
    await team.both_open()
    killed, other = (team.alice, team.bob) if who == "alice" else (team.bob, team.alice)
    killed.tab.type("before ", 0)
    await team.all_show("before base\n")
    await killed.crash()
    other.tab.type("after ", 0)
    await team.all_show("after before base\n")
    team.file.write_text("after before base\nscript\n")
    await team.all_show("after before base\nscript\n")
    await killed.start()
    await team.all_show("after before base\nscript\n")
    assert team.kept_beside() == []


async def test_left_alone_nothing_is_saved_and_nothing_is_sent(team):
    await team.both_open()
    team.alice.tab.type("alice ", 0)
    await team.all_show("alice base\n")
    await asyncio.sleep(2)
    before = team.file.stat().st_mtime_ns, len(await team.hub.database.run(_rows))
    await asyncio.sleep(5)
    assert before == (team.file.stat().st_mtime_ns, len(await team.hub.database.run(_rows)))


def _rows(connection):
    return connection.exec_driver_sql("SELECT document_id, seq FROM yjs_updates").all()


async def test_while_the_yjs_server_is_away_edits_are_kept_and_the_file_is_left_alone(team):
    await team.both_open()
    await team.hub.crash()
    team.alice.tab.type("alice ", 0)
    team.bob.tab.type(" bob", 4)
    await until(lambda: team.alice.tab.text == "alice base\n" and team.bob.tab.text == "base bob\n")
    await asyncio.sleep(1)
    assert team.file.read_text() == "base\n"
    await team.hub.start()
    await team.all_show("alice base bob\n")
    assert team.kept_beside() == []


async def test_what_was_kept_is_opened_without_the_yjs_server_and_nothing_else(team):
    await team.alice.start()
    await team.alice.committed()
    await team.alice.stop()
    await team.hub.crash()
    await team.alice.start()
    team.alice.tab.type("alone ", 0)
    with pytest.raises(ServiceUnavailable, match="does not answer"):
        await team.bob.start()
    await team.hub.start()
    await team.all_show("alone base\n")


async def test_who_is_in_no_group_is_refused(team):
    carol = MountServer(team.hub, "carol", team.folder / "carol")
    with pytest.raises(ServiceError, match="may not enter this shared volume"):
        await carol.start()
    assert team.file.read_text() == "base\n"


async def test_a_guessed_path_opens_nothing(team):
    """bob may not read the file, though he is in the group: what he says it holds is wrong."""
    await team.alice.start()
    team.alice.tab.type("secret ", 0)
    await team.all_show("secret base\n")
    with pytest.raises(ServiceError) as refused:
        await team.bob.client().register_shared(
            team.bob.mounts().of("Team/notes.txt").volume, "text:file", "text", "notes", "0" * 64
        )
    assert refused.value.code == "file_unknown"
    await team.bob.start()
    assert team.bob.tab.text == "secret base\n"


async def test_who_leaves_the_group_takes_part_no_longer(team):
    await team.both_open()
    team.hub.groups.members["bob"] = []
    with pytest.raises(Exception, match="no group"):
        await team.hub.rules.document_token(team.bob.client()._identity, team.bob.document_id)
    team.alice.tab.type("later ", 0)
    await until(lambda: team.bob.room.linked.link.state == "refused", timeout=20)
    assert team.alice.room.linked.is_live


# --- renamed, copied, deleted ---


async def test_a_rename_keeps_the_document_for_all(team):
    await team.both_open()
    document_id = team.alice.document_id
    await team.alice.rename("Team/renamed.txt")
    team.file = team.hub.volume / "renamed.txt"
    await until(lambda: team.bob.room._file.path == "Team/renamed.txt", "bob's room follows", timeout=20)
    await until(lambda: team.bob.tab.state.get("path") == "Team/renamed.txt", "and his tab knows")
    team.bob.path = "Team/renamed.txt"
    team.alice.tab.type("alice ", 0)
    team.bob.tab.type("bob ", 0)
    await until(
        lambda: len(team.bob.tab.text) == len("alice bob base\n") and team.alice.tab.text == team.bob.tab.text
    )
    await team.all_show(team.bob.tab.text)
    assert not (team.hub.volume / "notes.txt").exists()
    for server in team.servers:
        await server.stop()
        await server.start()
        assert server.document_id == document_id
    assert team.kept_beside() == []


async def test_a_file_that_was_renamed_while_it_was_closed_is_found_under_its_new_name(team):
    await team.both_open()
    document_id = team.bob.document_id
    team.bob.tab.type("bob ", 0)
    await team.all_show("bob base\n")
    await team.bob.stop()
    await team.alice.rename("Team/renamed.txt")
    team.file, team.bob.path = team.hub.volume / "renamed.txt", "Team/renamed.txt"
    await team.bob.start()
    assert team.bob.document_id == document_id
    assert team.bob.tab.text == "bob base\n"
    assert team.kept_beside() == []


async def test_a_rename_while_the_service_was_away_is_told_later(team):
    await team.alice.start()
    await team.alice.committed()
    document_id = team.alice.document_id
    await team.hub.crash()
    await team.alice.rename("Team/renamed.txt")
    await team.alice.stop()
    await team.hub.start()
    await team.alice.start()
    assert team.alice.document_id == document_id
    assert (await team.alice.client().document(document_id))["volume_path"] == "renamed.txt"


async def test_a_copy_is_another_document(team):
    await team.alice.start()
    await team.alice.committed()
    (team.hub.volume / "copy.txt").write_text("base\n")
    other = MountServer(team.hub, "bob", team.folder / "bob", "Team/copy.txt")
    await other.start()
    assert other.document_id != team.alice.document_id
    await other.stop()


async def test_a_deletion_ends_the_session_for_all(team):
    await team.both_open()
    document_id = team.alice.document_id
    await team.alice.delete()
    await until(lambda: team.bob.room._stopping is not None, "bob's room is closed", timeout=20)
    described = await team.bob.client().document(document_id)
    assert described["closed_reason"] == "alice deleted its file."
    with pytest.raises(Exception, match="alice deleted its file"):
        await team.hub.rules.document_token(team.bob.client()._identity, document_id)
    # What has its name after this is another document.
    for server in team.servers:
        await server.stop()
        server.forget_tab()
    team.file.write_text("new\n")
    await team.bob.start()
    assert team.bob.document_id != document_id
    assert team.bob.tab.text == "new\n"


async def test_a_file_that_leaves_the_volume_is_another_document(team):
    await team.both_open()
    document_id = team.alice.document_id
    room = team.alice.room
    await team.alice.rename("mine.txt")
    assert room._stopping is not None
    await team.alice.stop()
    team.alice.forget_tab()
    await team.alice.start()
    assert team.alice.document_id != document_id
    assert team.alice.tab.text == "base\n"
    await until(lambda: team.bob.room._stopping is not None, "bob's room is closed", timeout=20)


# --- a home with several servers ---


class Home:
    """alice's two servers, over one home."""

    def __init__(self, team: Team) -> None:
        home = team.folder / "alice"
        self.first = MountServer(team.hub, "alice", home, "own.txt")
        self.second = MountServer(team.hub, "alice", home, "own.txt", "second")
        self.file = home / "own.txt"
        self.file.write_text("base\n")
        team.servers += [self.first, self.second]


@pytest.fixture
def home(team: Team) -> Home:
    return Home(team)


async def test_two_servers_of_one_home_share_the_document_though_each_has_file_ids_of_its_own(team, home):
    await home.first.start()
    await home.first.committed()
    await home.second.start()
    assert home.first.document_id == home.second.document_id
    home.first.tab.type("first ", 0)
    home.second.tab.type("second ", 0)
    await until(lambda: home.first.tab.text == home.second.tab.text and len(home.first.tab.text) == 18)
    await until(lambda: home.file.read_text() == home.first.tab.text, "the file")
    home.file.write_text(f"{home.file.read_text()}script\n")
    await until(
        lambda: (
            home.first.tab.text == home.second.tab.text == home.file.read_text()
            and "script" in home.first.tab.text
        )
    )
    assert home.first.tab.text.count("script") == 1
    assert team.kept_beside() == []


async def test_the_second_server_saves_when_the_first_was_killed(team, home):
    await home.first.start()
    await home.first.committed()
    await home.second.start()
    home.first.tab.type("first ", 0)
    await until(lambda: home.file.read_text() == "first base\n")
    await home.first.crash()
    home.second.tab.type("second ", 0)
    await until(lambda: home.file.read_text() == "second first base\n", timeout=20)
    await home.first.start()
    await until(lambda: home.first.tab.text == "second first base\n")
    assert team.kept_beside() == []


async def test_a_new_file_of_an_old_name_is_another_document_in_the_other_server_too(team, home):
    await home.first.start()
    await home.first.committed()
    document_id = home.first.document_id
    await home.first.stop()
    home.file.write_text("something else\n")
    await home.second.start()
    assert home.second.document_id != document_id
    assert home.second.tab.text == "something else\n"


async def test_a_revert_to_what_was_saved_before_is_an_outside_change(team):
    await team.both_open()
    team.alice.tab.type("alice ", 0)
    await team.all_show("alice base\n")
    team.file.unlink()
    team.file.write_text("base\n")
    await team.all_show("base\n")
    assert team.kept_beside() == []


async def test_what_a_file_holds_that_no_base_is_known_of_is_kept_beside(team):
    """The document was restored from a backup: what was written down of the file is of another history."""
    await team.both_open()
    team.alice.tab.type("old ", 0)
    await team.all_show("old base\n")
    document_id = team.alice.document_id
    for server in team.servers:
        await server.stop()
    await team.hub.crash()
    generation = await team.hub.database.run(queries.reset_document, document_id)
    log = DocumentLog(team.hub.database)
    assert await log.append_first(document_id, Doc({"source": Text("restored\n")}).get_update(), generation)
    await team.hub.start()
    for server in team.servers:
        server.forget_tab()
    await team.both_open()
    await team.all_show("restored\n")
    assert set(team.kept_beside()) == {"old base\n"}


async def test_half_of_a_save_is_written_anew(team):
    await team.both_open()
    team.alice.tab.type("a longer text ", 0)
    await team.all_show("a longer text base\n")
    await team.bob.stop()
    linked = team.alice.room.linked
    linked.split.apply_local(merge_update(linked.split.shared.get_update(), "an even longer text base\n", "file"))
    shown = linked.agreed.shown_now(digest(linked.content(), "file"))
    await linked.agreed.agreement.claim_save(digest("a longer text base\n", "file"), shown)
    await team.alice.committed()
    await team.alice.crash()
    team.file.write_text("an even")
    await team.bob.start()
    await team.all_show("an even longer text base\n")
    assert team.kept_beside() == []


async def test_a_file_that_was_cut_short_by_somebody_is_an_outside_change(team):
    await team.both_open()
    team.alice.tab.type("a longer text ", 0)
    await team.all_show("a longer text base\n")
    for server in team.servers:
        await server.stop()
    team.file.write_text("a longer")
    await team.bob.start()
    await team.all_show("a longer")
