"""The pages of versions and of the Hub's admins in a real browser; the service is real, and its Hub knows names alone.

Screenshots, light, dark and narrow, lie in pytest's temporary folder, under `admin-pages`.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import nbformat
import pytest
import requests
from jupyter_ydoc import YNotebook
from playwright.sync_api import Browser, Page, expect
from support.logs import append
from support.looks import assert_everybody_can_read
from support.service_process import Service
from support.stub_hub import StubHub

pytestmark = [pytest.mark.acceptance, pytest.mark.browser, pytest.mark.timeout(300)]

SOON = 45_000
TITLE = "Titration of <b>acid</b>"
LABEL = "Before <i>the</i> review"


class World:
    """A service with a notebook of alice's, in which bob writes and carol reads."""

    def __init__(self, url: str, browser: Browser) -> None:
        self.hub = StubHub(("alice", "bob", "carol", "dave", "admin"), may_list=True)
        self.service = Service(
            RTC_DATABASE_URL=url, RTC_MAX_REQUESTS_PER_MINUTE="0", RTC_SEARCH_USERS="true", **self.hub.environment
        )
        self.service.health(200, 60)
        self.home = f"{self.service.url}/services/rtc/"
        self._browser = browser
        self.faults: list[str] = []
        file = {"volume": "h", "file_id": uuid4().hex, "document_type": "notebook", "path": "lab/titration.ipynb"}
        self.document_id = self.ask("POST", "/documents", json=file | {"title": TITLE})["document_id"]
        for name, permissions in (("bob", "read-write"), ("carol", "read-only")):
            body = {"username": name, "permissions": permissions}
            invite_id = self.ask("POST", f"{self.session}/invite", json=body)["invite_id"]
            self.ask("POST", f"/invites/{invite_id}/accept", name)
        notebook = YNotebook()
        cells = [nbformat.v4.new_markdown_cell("# <script>alert(1)</script>"), nbformat.v4.new_code_cell("slope = 1")]
        cells[1]["outputs"] = [nbformat.v4.new_output("stream", text="\x1b[1mtwo\x1b[0m")]
        notebook.set(nbformat.v4.new_notebook(cells=cells))
        # Of this thread Playwright has the event loop.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(append, url, self.document_id, notebook.ydoc.get_update()).result()

    @property
    def session(self) -> str:
        return f"/sessions/{self.document_id}"

    def ask(self, method: str, path: str, who: str = "alice", **options: Any) -> Any:
        headers = {"Authorization": f"Bearer person-{who}"}
        url = f"{self.home}api/v1/collaboration{path}"
        answer = requests.request(method, url, headers=headers, timeout=30, **options)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def version(self, label: str = LABEL) -> str:
        return self.ask("POST", f"{self.session}/history", json={"label": label})["version_id"]

    def visit(self, who: str, path: str) -> Page:
        """A page of somebody's, in a browser of their own."""
        headers = {"Authorization": f"Bearer person-{who}"}
        page = self._browser.new_context(extra_http_headers=headers).new_page()
        page.on("console", lambda message: self.faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.goto(self.home + path)
        return page

    def end(self) -> None:
        status, log = self.service.end()
        self.hub.end()
        assert (status, "Traceback" in log) == (0, False), log


@pytest.fixture
def world(database_url: str, browser: Browser) -> Iterator[World]:
    world = World(database_url, browser)
    yield world
    world.end()
    assert world.faults == []


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("admin-pages", numbered=False)


def test_every_page_can_be_read_by_everybody(world: World, pictures: Path) -> None:
    version = world.version()
    world.version("a-label-without-a-single-space-" * 6)
    at_session = world.session[1:]
    pages = {
        "session": ("alice", at_session),
        "keep": ("alice", f"{at_session}?keep"),
        "reader": ("carol", at_session),
        "versions": ("carol", f"{at_session}/versions"),
        "version": ("alice", f"{at_session}/versions/{version}"),
        "admin": ("admin", "admin"),
        "admin-session": ("admin", f"admin/sessions/{world.document_id}"),
        "admin-users": ("admin", "admin/users"),
        "admin-user": ("admin", "admin/users/bob"),
        "admin-audit": ("admin", "admin/audit"),
        "api": ("alice", "api"),
    }
    for name, (who, path) in pages.items():
        page = world.visit(who, path)
        assert_everybody_can_read(page, name, pictures)
        page.context.close()


def test_a_version_is_kept_named_looked_at_and_restored(world: World) -> None:
    page = world.visit("bob", world.session[1:])
    page.get_by_role("link", name="Keep a version…").click()
    page.get_by_label("What to call it").fill(LABEL)
    page.get_by_role("button", name="Keep it").click()
    expect(page.get_by_text("The version is kept.")).to_be_visible()
    page.locator("#versions").get_by_role("link", name=LABEL, exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(LABEL)
    expect(page.locator(".block.markdown")).to_have_text("# <script>alert(1)</script>")
    expect(page.locator(".block.output")).to_have_text("two")

    page.get_by_label("Name").fill("Reviewed")
    page.get_by_role("button", name="Save the name").click()
    expect(page.get_by_text("The version is named.")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename.startswith("titration (2")
    assert nbformat.read(download.value.path(), as_version=4).cells[1].source == "slope = 1"

    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Restore…").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Reviewed")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Restore…").click()
    expect(page.get_by_text("The document is as it was then.")).to_be_visible()
    expect(page.locator("#activity")).to_contain_text("bob restored the version “Reviewed”")
    expect(page.locator("#versions")).to_contain_text("Kept before a restore")
    page.context.close()


def test_a_reader_looks_and_changes_nothing(world: World) -> None:
    version = world.version()
    page = world.visit("carol", world.session[1:])
    expect(page.locator("#versions")).to_contain_text(LABEL)
    expect(page.get_by_role("link", name="Keep a version…")).to_have_count(0)
    page.goto(f"{world.home}{world.session[1:]}/versions/{version}")
    expect(page.get_by_role("link", name="Download")).to_be_visible()
    expect(page.get_by_role("button", name="Restore…")).to_have_count(0)
    page.context.close()


def test_whoever_invites_finds_the_hubs_users_as_they_type(world: World) -> None:
    page = world.visit("alice", f"{world.session[1:]}?invite")
    page.get_by_label("Who").press_sequentially("da")
    expect(page.locator("#colleagues option[value=dave]")).to_be_attached(timeout=SOON)
    expect(page.locator("#colleagues option")).to_have_count(1)
    page.context.close()


def test_an_admin_ends_a_session_and_deletes_it_when_it_is_meant(world: World) -> None:
    page = world.visit("admin", "admin")
    page.get_by_label("Search titles and paths").fill("titration")
    page.get_by_role("button", name="Show").click()
    page.get_by_role("link", name=TITLE).click()
    expect(page.locator("#people li")).to_have_count(3)
    button = page.get_by_role("button", name="End the session")
    button.click()
    # The browser asks for the box first, and the service would, too.
    expect(page.locator("#people li")).to_have_count(3)
    page.get_by_label("Yes, end it").check()
    button.click()
    expect(page.get_by_text("The session is its owner's alone now.")).to_be_visible()
    expect(page.locator("#people li")).to_have_count(1)
    page.get_by_label("Yes, delete it for good").check()
    page.get_by_role("button", name="Delete the document").click()
    expect(page.get_by_text("The document is deleted.")).to_be_visible()
    expect(page.get_by_text("No such documents.")).to_be_visible()
    page.get_by_role("link", name="Audit").click()
    page.get_by_label("What", exact=True).fill("deleted")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody tr")).to_contain_text(world.document_id)
    page.context.close()


def test_an_admin_disconnects_renames_and_erases_somebody(world: World) -> None:
    page = world.visit("admin", "admin/users")
    page.get_by_role("link", name="bob").click()
    page.get_by_label("Yes, take them out").check()
    page.get_by_role("button", name="Disconnect").click()
    expect(page.get_by_text("bob is disconnected.")).to_be_visible()
    people = world.ask("GET", f"{world.session}/participants")["participants"]
    assert {one["username"] for one in people} == {"alice", "carol"}
    page.get_by_label("Their name at the Hub now").fill("carol")
    page.get_by_role("button", name="Rename").click()
    expect(page.get_by_role("alert")).to_contain_text("carol is known here already")
    page.get_by_label("Their name at the Hub now").fill("rob ert/ü")
    page.get_by_role("button", name="Rename").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("rob ert/ü")
    page.get_by_label("Yes, erase them for good").check()
    page.get_by_role("button", name="Erase").click()
    expect(page.get_by_text("rob ert/ü is erased.")).to_be_visible()
    world.faults.clear()  # the rename that was refused
    page.context.close()


USER_FORMS = ("users/bob/disconnect", "users/bob/rename", "users/bob/erase")


def test_nobody_else_sees_or_does_any_of_it(world: World) -> None:
    """Not the owner; and without the box not even an admin."""

    def ask(method: str, path: str, who: str, **form: str) -> int:
        headers = {"Authorization": f"Bearer person-{who}"}
        url = world.home + path
        return requests.request(method, url, headers=headers, data=form, allow_redirects=False, timeout=20).status_code

    for path in ("admin", f"admin{world.session}", "admin/users", "admin/users/bob", "admin/audit"):
        assert (ask("GET", path, "alice"), ask("GET", path, "admin")) == (403, 200), path
    for form in (f"{world.session[1:]}/end", f"{world.session[1:]}/delete", *USER_FORMS):
        path = f"admin/{form}"
        assert ask("POST", path, "alice", confirm=world.document_id, new="x") == 403, path
        assert ask("POST", path, "admin", confirm="yes") == 400, path
    version = world.version()
    for path in ("keep", f"versions/{version}/name", f"versions/{version}/restore"):
        assert ask("POST", f"{world.session[1:]}/{path}", "carol", label="mine") == 403, path
    for path in ("versions", f"versions/{version}", f"versions/{version}/download"):
        path = f"{world.session[1:]}/{path}"
        assert (ask("GET", path, "dave"), ask("GET", path, "carol")) == (403, 200), path
