"""The web page at /services/rtc/, as people use it: in real browsers, on the real Hub.

Screenshots of every page, light, dark and narrow, lie in pytest's temporary folder, under `pages`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect
from support.looks import assert_everybody_can_read
from support.people import Person
from support.running_demo import RunningDemo

pytestmark = [pytest.mark.acceptance, pytest.mark.browser, pytest.mark.timeout(300)]

# A user's server starts, and JupyterLab loads, within this on a busy machine with two cores.
SLOW = 90_000
CODE = ".jp-Notebook .jp-CodeCell .cm-content"
# What another person does is shown within this.
SOON = 45_000
# A response's status, which tests that are about refusals bring about, is no fault of the page.
_STATUS = re.compile(r"Failed to load resource: the server responded with a status of 4\d\d")


class Visitor:
    """A person at the page, in a browser profile of their own.

    Attributes:
        page: what is open.
        faults: what the browser complained about: errors, and what the content security policy stopped.
    """

    def __init__(self, browser: Browser, person: Person, **options: Any) -> None:
        self.person = person
        self.home = f"{person.demo.ready['service_url']}/"
        self.faults: list[str] = []
        self._browser = browser
        self.context = browser.new_context(viewport={"width": 1200, "height": 800}, **options)
        self.page = self.new_page(self.context)

    def new_page(self, context: BrowserContext) -> Page:
        page = context.new_page()
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        return page

    def _note(self, message: ConsoleMessage) -> None:
        # What JupyterLab and the Hub's own pages say is theirs.
        ours = message.location.get("url", "").startswith(self.home)
        if ours and message.type in ("error", "warning") and not _STATUS.match(message.text):
            self.faults.append(message.text)

    def log_in(self) -> None:
        """Go to the page, which sends a browser to the Hub's login first, and then comes back."""
        self.page.goto(self.home)
        password = re.search(r"Password +(\S+)", self.person.demo.output)
        assert password is not None
        self.page.fill("#username_input", self.person.name)
        self.page.fill("#password_input", password[1])
        self.page.click("#login_submit")
        self.page.wait_for_url(self.home, timeout=SLOW)

    def again(self, **options: Any) -> Page:
        """A page of the same person in a browser that is set up differently."""
        options = {"viewport": {"width": 1200, "height": 800}} | options
        return self.new_page(self._browser.new_context(storage_state=self.context.storage_state(), **options))

    def session_url(self, document_id: str) -> str:
        return f"{self.home}sessions/{document_id}"

    def visit(self, document_id: str) -> None:
        self.page.goto(self.session_url(document_id))


@pytest.fixture(scope="module")
def everybody(demo: RunningDemo, browser: Browser) -> dict[str, Visitor]:
    """alice, bob and carol, logged in."""
    visitors = {name: Visitor(browser, Person(demo, name)) for name in ("alice", "bob", "carol")}
    for visitor in visitors.values():
        visitor.log_in()
    return visitors


@pytest.fixture
def alice(everybody: dict[str, Visitor]) -> Visitor:
    return everybody["alice"]


@pytest.fixture
def bob(everybody: dict[str, Visitor]) -> Visitor:
    return everybody["bob"]


@pytest.fixture
def carol(everybody: dict[str, Visitor]) -> Visitor:
    return everybody["carol"]


@pytest.fixture(autouse=True)
def without_faults(everybody: dict[str, Visitor]) -> Iterator[None]:
    """Whatever a test does, the browser has nothing to complain about."""
    yield
    for visitor in everybody.values():
        faults, visitor.faults = visitor.faults, []
        assert not faults, f"{visitor.person.name}'s browser"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages", numbered=False)


@pytest.fixture
def title() -> str:
    return f"Titration {uuid4().hex[:6]}"


@pytest.fixture
def document_id(alice: Visitor, title: str) -> str:
    """A document of alice's that nobody has open."""
    return register(alice.person, title)


def register(person: Person, title: str) -> str:
    file = {"volume": "home", "file_id": uuid4().hex, "document_type": "notebook", "path": "lab/a.ipynb"}
    return person.call("POST", "/documents", json=file | {"title": title}).json()["document_id"]


def invite(person: Person, document_id: str, username: str, **more: str) -> str:
    answer = person.call("POST", f"/sessions/{document_id}/invite", json={"username": username} | more)
    return answer.json()["invite_id"]


def let_in(document_id: str, owner: Person, other: Person, **more: str) -> None:
    invite_id = invite(owner, document_id, other.name, **more)
    assert other.call("POST", f"/invites/{invite_id}/accept").status_code == 200


def write_notebook(path: Path, title: str) -> None:
    cell = {"cell_type": "markdown", "id": "title", "metadata": {}, "source": f"# {title}"}
    code = {"cell_type": "code", "id": "code", "metadata": {}, "source": "slope = 1"}
    code |= {"outputs": [], "execution_count": None}
    # Without it, JupyterLab asks which kernel to start.
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": [cell, code]}
    path.write_text(json.dumps(notebook))


def mark(page: Page) -> None:
    """A reload would take this away."""
    page.evaluate("window.marked = true")


def is_marked(page: Page) -> bool:
    return bool(page.evaluate("window.marked"))


# --- the main job ----------------------------------------------------------------------------------------------


def test_alice_invites_bob_who_accepts_and_lands_in_the_notebook(
    alice: Visitor, bob: Visitor, title: str
) -> None:
    name = f"{title}.ipynb"
    write_notebook(alice.person.home / name, title)
    for visitor in (alice, bob):
        # JupyterLab would open what other tests have left open, too.
        visitor.person.at_server("DELETE", "lab/api/workspaces/default")
        visitor.page.goto(visitor.home)
        mark(visitor.page)
    lab = alice.context.new_page()
    lab.goto(f"{alice.person.server_url}lab/tree/{name}")
    expect(lab.locator(".jp-Notebook h1", has_text=title)).to_be_visible(timeout=SLOW)

    # What is open appears by itself, with who has it open.
    row = alice.page.locator("#documents .card", has_text=name)
    expect(row).to_contain_text("you are here", timeout=SOON)
    assert is_marked(alice.page)

    row.get_by_role("heading").get_by_role("link").click()
    alice.page.get_by_role("link", name="Invite…").click()
    dialog = alice.page.get_by_role("dialog")
    dialog.get_by_label("Who").fill("bob")
    dialog.get_by_label("Message").fill("Would you check the slope?")
    dialog.get_by_role("button", name="Invite").click()
    expect(alice.page.get_by_text("bob is invited.")).to_be_visible()
    expect(alice.page.locator("#sent")).to_contain_text("bob")
    mark(alice.page)

    card = bob.page.locator("#invites .card", has_text="Would you check the slope?")
    expect(card).to_be_visible(timeout=SOON)
    assert is_marked(bob.page), "the invitation appears without a reload"
    expect(bob.page.locator("#announcer")).to_contain_text("alice invites you to")
    card.get_by_role("button", name="Accept and open").click()
    bob.page.wait_for_url("**/lab/tree/Shared%20with%20me/**", timeout=SLOW)
    expect(bob.page.locator(".jp-Notebook h1", has_text=title)).to_be_visible(timeout=SLOW)

    # From the notebook a button leads to its page, too.
    with alice.context.expect_page() as opened:
        lab.get_by_role("button", name="Invite…").click(timeout=SOON)
    expect(opened.value.get_by_role("heading", level=1)).to_have_text(title, timeout=SOON)
    assert opened.value.url == alice.page.url
    opened.value.close()

    person = alice.page.locator("#people li", has_text="bob")
    expect(person).to_contain_text("here now", timeout=SOON)
    expect(alice.page.locator("#activity")).to_contain_text("bob joined the session", timeout=SOON)
    expect(alice.page.locator("#announcer")).to_contain_text("bob is here")
    assert is_marked(alice.page), "bob appears without a reload"

    # For both, the page leads to the document on their own server.
    his = bob.new_page(bob.context)
    his.goto(alice.page.url)
    his.get_by_role("link", name="Open").click()
    his.wait_for_url("**/user/bob/lab/tree/Shared%20with%20me/**", timeout=SLOW)
    hers = alice.new_page(alice.context)
    hers.goto(alice.page.url)
    hers.get_by_role("link", name="Open").click()
    hers.wait_for_url("**/user/alice/lab/**", timeout=SLOW)
    expect(hers.locator(".jp-Notebook h1", has_text=title)).to_be_visible(timeout=SLOW)
    hers.close()

    # What is restored comes to both, where they are.
    document_id = alice.page.url.rpartition("/")[2]
    kept = alice.person.call("POST", f"/sessions/{document_id}/history", json={"label": "As it was"}).json()
    type_into_code(lab, "# a mistake")
    expect(bob.page.locator(CODE)).to_contain_text("# a mistake", timeout=SOON)
    restored = alice.person.call("POST", f"/sessions/{document_id}/history/{kept['version_id']}/restore")
    assert restored.status_code == 200, restored.text
    for page in (lab, bob.page):
        expect(page.locator(CODE)).not_to_contain_text("# a mistake", timeout=SOON)
    expect(alice.page.locator("#activity")).to_contain_text("alice restored the version “As it was”", timeout=SOON)

    # What she decides is felt where he is: a reader's typing arrives nowhere, while he sees hers.
    his.goto(alice.page.url)
    mark(his)
    change(alice.page, "bob", "Make a reader")
    expect(alice.page.get_by_text("bob can read now, and edit no more.")).to_be_visible()
    expect(his.locator("#title")).to_contain_text("you can read", timeout=SOON)
    assert is_marked(his)
    right_changed = bob.page.get_by_role("dialog", name="Your right to this document has changed: read-only")
    right_changed.get_by_role("button", name="Reload").click(timeout=SOON)
    type_into_code(bob.page, "# typed by bob")
    type_into_code(lab, "# typed by alice")
    expect(bob.page.locator(CODE)).to_contain_text("# typed by alice", timeout=SOON)
    expect(lab.locator(CODE)).not_to_contain_text("# typed by bob")

    alice.page.once("dialog", lambda dialog: dialog.accept())
    change(alice.page, "bob", "Remove…")
    expect(alice.page.get_by_text("bob takes part no more.")).to_be_visible()
    expect(alice.page.locator("#people li")).to_have_count(1)
    expect(his.get_by_role("heading", level=1)).to_have_text(
        "You do not take part in this document", timeout=SOON
    )
    his.close()
    lab.close()


def change(page: Page, username: str, what: str) -> None:
    row = page.locator("#people li", has_text=username)
    row.locator("summary").click()
    row.get_by_role("button", name=what).click()


def type_into_code(page: Page, text: str) -> None:
    page.locator(CODE).click(timeout=SLOW)
    page.keyboard.press("Control+End")
    page.keyboard.type(f"\n{text}")


def test_the_hubs_menu_leads_to_the_page(alice: Visitor) -> None:
    alice.page.goto(f"{alice.person.demo.ready['hub_url']}/hub/home")
    alice.page.get_by_text("Services").click()
    alice.page.get_by_role("link", name="rtc").click()
    alice.page.wait_for_url(alice.home)
    expect(alice.page.get_by_role("heading", name="Documents")).to_be_visible()


# --- invitations -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("username", "trouble"),
    [
        ("bobb", "There is no user bobb."),
        ("alice", "You can't invite yourself."),
        ("bob", "bob is a participant already."),
    ],
)
def test_a_mistake_is_said_in_the_form_which_stays_filled_in(
    alice: Visitor, bob: Visitor, document_id: str, username: str, trouble: str
) -> None:
    let_in(document_id, alice.person, bob.person)
    alice.visit(document_id)
    alice.page.get_by_role("link", name="Invite…").click()
    dialog = alice.page.get_by_role("dialog")
    dialog.get_by_label("Who").fill(username)
    dialog.get_by_label("can read").check()
    dialog.get_by_label("Message").fill("<b>two</b>\nlines")
    dialog.get_by_role("button", name="Invite").click()

    expect(dialog.get_by_role("alert")).to_have_text(trouble)
    expect(dialog.get_by_label("Who")).to_have_value(username)
    expect(dialog.get_by_label("Who")).to_be_focused()
    expect(dialog.get_by_label("can read")).to_be_checked()
    expect(dialog.get_by_label("Message")).to_have_value("<b>two</b>\nlines")


def test_an_invitation_is_withdrawn(alice: Visitor, carol: Visitor, document_id: str) -> None:
    invite(alice.person, document_id, "carol")
    carol.page.goto(carol.home)
    card = carol.page.locator(f"#invites .card[data-say*='{document_id_title(alice, document_id)}']")
    expect(card).to_be_visible()
    alice.visit(document_id)
    alice.page.get_by_role("button", name="Withdraw the invitation of carol").click()
    expect(alice.page.get_by_text("The invitation is withdrawn.")).to_be_visible()
    expect(alice.page.get_by_role("button", name="Withdraw")).to_have_count(0)
    expect(card).to_have_count(0, timeout=SOON)


def document_id_title(visitor: Visitor, document_id: str) -> str:
    return visitor.person.call("GET", f"/sessions/{document_id}").json()["session"]["document_title"]


def test_an_invitation_is_declined_where_the_link_leads(
    alice: Visitor, carol: Visitor, document_id: str, title: str
) -> None:
    carol.visit(document_id)
    expect(carol.page.get_by_role("heading", level=1)).to_have_text("You do not take part in this document")
    assert title not in carol.page.content(), "to a stranger the page tells nothing of it"

    invite(alice.person, document_id, "carol", permissions="read-only")
    carol.page.reload()
    expect(carol.page.get_by_text(f"alice invites you to read {title}")).to_be_visible()
    carol.page.get_by_role("button", name="Decline").click()
    expect(carol.page.get_by_text("You declined the invitation.")).to_be_visible()
    assert carol.person.call("GET", f"/sessions/{document_id}").status_code == 403
    alice.visit(document_id)
    expect(alice.page.locator("#activity")).to_contain_text("carol declined the invitation")


def test_an_invitation_expires_when_it_is_said_and_is_renewed(alice: Visitor, document_id: str) -> None:
    alice.visit(document_id)
    alice.page.get_by_role("link", name="Invite…").click()
    dialog = alice.page.get_by_role("dialog")
    dialog.get_by_label("Who").fill("carol")
    dialog.get_by_label("Expires in").select_option("7 days")
    dialog.get_by_role("button", name="Invite").click()
    row = alice.page.locator("#sent li", has_text="carol")
    expect(row).to_contain_text("expires in 7 days")
    row.get_by_role("button", name="Renew").click()
    expect(alice.page.get_by_text("The invitation of carol is renewed.")).to_be_visible()
    expect(row).to_contain_text("expires in 1 day")


def test_somebody_comes_by_a_link(alice: Visitor, bob: Visitor, carol: Visitor, document_id: str) -> None:
    alice.visit(document_id)
    alice.page.get_by_role("link", name="Make an invitation link…").click()
    dialog = alice.page.get_by_role("dialog")
    dialog.get_by_label("can edit").check()
    dialog.get_by_label("How many people").fill("1")
    dialog.get_by_role("button", name="Make the link").click()
    link = alice.page.get_by_role("textbox", name="The invitation link").input_value()
    row = alice.page.locator("#sent li", has_text="By a link")
    expect(row).to_contain_text("0 of 1 used")

    carol.page.goto(link)
    assert carol.person.call("GET", f"/sessions/{document_id}").status_code == 403, "looking is not accepting"
    # Without its redirect, which would start carol's server.
    accept = carol.page.locator("form").evaluate("form => form.action")
    token = carol.page.locator("[name=_xsrf]").input_value()
    answer = carol.context.request.post(accept, form={"_xsrf": token}, max_redirects=0)
    assert answer.headers["location"] == f"/hub/user-redirect/rtc/join/{document_id}"
    expect(alice.page.locator("#people li", has_text="carol")).to_contain_text("can edit", timeout=SOON)
    expect(row).to_have_count(0, timeout=SOON)

    bob.page.goto(link)
    expect(bob.page.get_by_role("heading", level=1)).to_have_text("The invitation link is used up")


def test_a_link_is_withdrawn(alice: Visitor, carol: Visitor, document_id: str) -> None:
    made = alice.person.call("POST", f"/sessions/{document_id}/links", json={"max_uses": 5}).json()
    alice.visit(document_id)
    alice.page.get_by_role("button", name="Withdraw the link").click()
    expect(alice.page.get_by_text("The invitation is withdrawn.")).to_be_visible()
    carol.page.goto(f"{carol.home}links/{made['token']}")
    expect(carol.page.get_by_role("heading", level=1)).to_have_text("The invitation link was withdrawn")


# --- people ----------------------------------------------------------------------------------------------------


def test_the_owner_hands_over_and_leaves(alice: Visitor, carol: Visitor, document_id: str) -> None:
    let_in(document_id, alice.person, carol.person)
    for visitor in (alice, carol):
        visitor.visit(document_id)
        visitor.page.once("dialog", lambda dialog: dialog.accept())
    expect(carol.page.get_by_role("link", name="Invite…")).to_have_count(0)
    change(alice.page, "carol", "Make the owner…")
    expect(alice.page.get_by_text("The document is carol's now.")).to_be_visible()
    # Whoever looks on gets the owner's parts, or loses them.
    expect(carol.page.get_by_role("link", name="Invite…")).to_be_visible(timeout=SOON)
    expect(alice.page.get_by_role("link", name="Invite…")).to_have_count(0)

    alice.page.once("dialog", lambda dialog: dialog.accept())
    change(alice.page, "alice", "Leave…")
    expect(alice.page.get_by_text("You have left the document.")).to_be_visible()
    expect(carol.page.locator("#people li")).to_have_count(1, timeout=SOON)


def test_a_question_that_is_answered_no_changes_nothing(
    alice: Visitor, carol: Visitor, document_id: str
) -> None:
    let_in(document_id, alice.person, carol.person)
    alice.visit(document_id)
    alice.page.once("dialog", lambda dialog: dialog.dismiss())
    change(alice.page, "carol", "Remove…")
    alice.page.keyboard.press("Escape")
    expect(alice.page.locator("#people .menu[open]")).to_have_count(0)
    assert carol.person.call("GET", f"/sessions/{document_id}").status_code == 200


def test_documents_are_searched(alice: Visitor, document_id: str, title: str) -> None:
    alice.page.goto(alice.home)
    alice.page.get_by_label("Search documents").fill(title.split()[1])
    alice.page.keyboard.press("Enter")
    expect(alice.page.locator("#documents .card")).to_have_count(1)
    expect(alice.page.locator("#documents .card")).to_contain_text(title)
    alice.page.get_by_label("Search documents").fill("<nothing> & nobody")
    alice.page.keyboard.press("Enter")
    expect(alice.page.get_by_text("Nothing matches “<nothing> & nobody”.")).to_be_visible()
    alice.page.get_by_role("link", name="Show all documents").click()
    expect(alice.page.locator(".card", has_text=title)).to_be_visible()


# --- who may ---------------------------------------------------------------------------------------------------


def test_nothing_is_answered_without_the_xsrf_token(alice: Visitor, carol: Visitor, document_id: str) -> None:
    invite_id = invite(alice.person, document_id, "carol")
    url = f"{carol.home}invites/{invite_id}/accept"
    cookies = {cookie["name"]: cookie["value"] for cookie in carol.context.cookies(url)}
    assert requests.get(url, cookies=cookies, timeout=10).status_code == 405
    for form in ({}, {"_xsrf": "guessed"}):
        assert requests.post(url, form, cookies=cookies, timeout=10).status_code == 401
    assert carol.person.call("GET", f"/sessions/{document_id}").status_code == 403
    answer = requests.post(
        url, {"_xsrf": cookies["_xsrf"]}, cookies=cookies, timeout=10, allow_redirects=False
    )
    assert answer.status_code == 303
    assert answer.headers["Location"] == f"/hub/user-redirect/rtc/join/{document_id}"
    assert carol.person.call("GET", f"/sessions/{document_id}").status_code == 200


# --- for everybody ---------------------------------------------------------------------------------------------


def test_the_keyboard_is_enough(alice: Visitor, document_id: str) -> None:
    page = alice.page
    alice.visit(document_id)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    link = page.get_by_role("link", name="Invite…")
    for _ in range(3):
        page.keyboard.press("Tab")
        if link.evaluate("link => link === document.activeElement"):
            break
    expect(link).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog").get_by_label("Who")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(link).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.type("bob")
    page.keyboard.press("Enter")
    expect(page.get_by_text("bob is invited.")).to_be_visible()


def test_what_changes_leaves_the_focus_where_it_is(alice: Visitor, document_id: str) -> None:
    invite(alice.person, document_id, "bob")
    alice.visit(document_id)
    button = alice.page.get_by_role("button", name="Withdraw the invitation of bob")
    button.focus()
    invite(alice.person, document_id, "carol")
    expect(alice.page.locator("#sent")).to_contain_text("carol", timeout=SOON)
    expect(button).to_be_focused()


def test_it_works_without_javascript(alice: Visitor, carol: Visitor, document_id: str, title: str) -> None:
    page = alice.again(java_script_enabled=False)
    page.goto(alice.home)
    page.get_by_role("link", name=title, exact=True).click()
    page.get_by_role("link", name="Invite…").click()
    page.get_by_label("Who").fill("carol")
    page.get_by_role("button", name="Invite").click()
    expect(page.get_by_text("carol is invited.")).to_be_visible()
    page.context.close()

    page = carol.again(java_script_enabled=False)
    page.goto(carol.session_url(document_id))
    page.get_by_role("button", name="Decline").click()
    expect(page.get_by_text("You declined the invitation.")).to_be_visible()
    page.context.close()


def test_the_link_is_copied(alice: Visitor, document_id: str) -> None:
    page = alice.again(permissions=["clipboard-read", "clipboard-write"])
    page.goto(alice.session_url(document_id))
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == alice.session_url(document_id)
    page.context.close()


def test_every_page_can_be_read_by_everybody(
    alice: Visitor, carol: Visitor, document_id: str, title: str, pictures: Path
) -> None:
    let_in(document_id, alice.person, carol.person, permissions="read-only")
    invite(alice.person, document_id, "bob", message="Would you check the slope?")
    long_title = "A_name_without_a_single_space_" * 4
    invite(alice.person, register(alice.person, long_title), "carol", message="y" * 300)
    invited = register(alice.person, title)
    invite(alice.person, invited, "carol")
    offered = alice.person.call("POST", f"/sessions/{invited}/links", json={}).json()["token"]

    at_alice, at_carol = alice.again(), carol.again()
    for name, page, path in (
        ("index", at_alice, ""),
        ("session", at_alice, f"sessions/{document_id}"),
        ("dialog", at_alice, f"sessions/{document_id}?invite"),
        ("link-dialog", at_alice, f"sessions/{document_id}?link"),
        ("menu", at_alice, f"sessions/{document_id}"),
        ("invites", at_carol, ""),
        ("reader", at_carol, f"sessions/{document_id}"),
        ("invited", at_carol, f"sessions/{invited}"),
        ("offer", at_carol, f"links/{offered}"),
        ("nothing", at_carol, "?q=there-is-none"),
        ("error", at_carol, "sessions/there-is-none"),
    ):
        page.goto(alice.home + path)
        if name == "menu":
            page.locator("summary").click()
        assert_everybody_can_read(page, name, pictures)
    at_alice.context.close()
    at_carol.context.close()


# --- when something is away ------------------------------------------------------------------------------------


def test_a_page_says_when_it_is_not_live_any_more(alice: Visitor, document_id: str) -> None:
    alice.visit(document_id)
    stale = alice.page.get_by_text("Not live right now")
    expect(stale).to_be_hidden()
    alice.context.set_offline(True)
    # A stream that is open stays so; without it, it would be sooner.
    expect(stale).to_be_visible(timeout=2 * SOON)
    alice.context.set_offline(False)
    expect(stale).to_be_hidden(timeout=SOON)
    # That requests fail is what this test brings about.
    alice.faults.clear()


def test_nothing_comes_from_elsewhere_and_nothing_is_inline(alice: Visitor) -> None:
    answer = alice.person.demo.request("GET", alice.home, "alice")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style| style=| on\w+=", answer.text)
    for url in re.findall(r'(?:src|href)="([^"]+)"', answer.text):
        assert url.startswith("/") or url == "#main", url
