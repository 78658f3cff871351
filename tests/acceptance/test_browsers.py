"""alice and bob in two real JupyterLab windows, each on their own server, in one notebook.

Screenshots of both windows after each test lie in pytest's temporary folder, under `screenshots`.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from support.people import Person, sources
from support.running_demo import RunningDemo
from support.shared_notebook import service_of

from jupyter_rtc_amprenta.demo.notebook.build import NOTEBOOK

pytestmark = [pytest.mark.acceptance, pytest.mark.browser, pytest.mark.timeout(300)]

NAME = "Enzyme.ipynb"
# A user's kernel starts, and JupyterLab loads, within these on a busy machine with two cores.
SLOW = 60_000
SOON = 45_000


class Window:
    """A browser window of one person: a profile of its own, with JupyterLab in it.

    Attributes:
        page: what is open in it.
        path: the notebook's, on the person's own server.
    """

    def __init__(self, browser: Browser, person: Person, password: str) -> None:
        self.person = person
        self.path = ""
        self._context = browser.new_context(viewport={"width": 1200, "height": 900})
        self.page = self._context.new_page()
        self._log_in(password)

    def _log_in(self, password: str) -> None:
        self.page.goto(f"{self.person.demo.ready['hub_url']}/hub/login")
        self.page.fill("#username_input", self.person.name)
        self.page.fill("#password_input", password)
        self.page.click("#login_submit")
        self.page.wait_for_url("**/lab**", timeout=SLOW)

    def open(self, url: str) -> None:
        """Open the notebook, in a new tab if the last one was closed."""
        if self.page.is_closed():
            self.page = self._context.new_page()
        self.page.goto(url)
        self.wait_until_ready()
        (document,) = [one for one in self.person.status()["documents"] if one["path"].endswith(NAME)]
        self.path = document["path"]

    def open_again(self) -> None:
        """Open it as one's own files show it."""
        self.open(f"{self.person.server_url}lab/tree/{self.path}")

    def wait_until_ready(self) -> None:
        """Wait until the notebook is shown, and its kernel is there."""
        expect(self.cells.first).to_be_visible(timeout=SLOW)
        expect(self.page.locator("#jp-main-statusbar")).to_contain_text("Idle", timeout=SLOW)

    @property
    def cells(self) -> Locator:
        return self.page.locator(".jp-Notebook .jp-Cell")

    def cell(self, text: str) -> Locator:
        """The cell whose source has this text."""
        return self.cells.filter(has=self.page.locator(".cm-content", has_text=text))

    def source(self, text: str) -> str:
        """The source of that cell, as the window shows it."""
        return self.cell(text).locator(".cm-content").inner_text()

    def enter(self, cell: Locator, key: str) -> None:
        """Click into a cell's source, and move with a key such as `Control+Home`."""
        cell.locator(".cm-content").click()
        self.page.keyboard.press(key)

    def run_new_cell(self, source: str) -> None:
        """Insert a cell above the first code cell, where it is in sight, and run it."""
        self.page.locator(".jp-Notebook .jp-CodeCell .cm-content").first.click()
        for key in ("Escape", "a", "Enter"):
            self.page.keyboard.press(key)
        self.page.keyboard.insert_text(source)
        self.page.keyboard.press("Control+Enter")

    def visit_own_server(self) -> None:
        """Log in at the own server anew, in another tab."""
        tab = self._context.new_page()
        tab.goto(f"{self.person.server_url}lab")
        tab.wait_for_url("**/lab/**", timeout=SLOW)
        tab.close()

    def new_tab(self, url: str) -> Page:
        """Another tab of the same browser; the caller closes it."""
        tab = self._context.new_page()
        tab.goto(url)
        return tab

    def dismiss_server_dialog(self) -> None:
        """From now on, dismiss JupyterLab's question whether to restart the server, whenever it comes."""
        dialog = self.page.locator(".jp-Dialog", has_text="Server unavailable")
        self.page.add_locator_handler(dialog, lambda: dialog.get_by_role("button", name="Dismiss").click())

    @property
    def cursors(self) -> Locator:
        """The carets of others."""
        return self.page.locator(".jp-remote-cursor")

    @property
    def names(self) -> Locator:
        """The labels of the others' carets, which show while they move."""
        return self.page.locator(".jp-remote-userFlag-name")

    @property
    def link(self) -> Locator:
        """What the status bar says of the document's link."""
        return self.page.locator("#rtc-link")

    def file(self) -> dict[str, Any]:
        """What is on the person's disk."""
        return self.person.file(self.path)


@pytest.fixture(scope="module")
def windows(demo: RunningDemo, browser: Browser) -> tuple[Window, Window]:
    """alice has opened a notebook and invited bob, who has accepted and followed the link."""
    password = re.search(r"Password +(\S+)", demo.output)
    assert password is not None
    alice, bob = (Window(browser, Person(demo, name), password[1]) for name in ("alice", "bob"))
    shutil.copyfile(NOTEBOOK, alice.person.home / NAME)
    alice.open(f"{alice.person.server_url}lab/tree/{NAME}")
    (document,) = [one for one in alice.person.status()["documents"] if one["path"] == NAME]

    invite = alice.person.call(
        "POST", f"/sessions/{document['document_id']}/invite", json={"username": "bob"}
    ).json()
    accepted = bob.person.call("POST", f"/invites/{invite['invite_id']}/accept").json()
    bob.open(accepted["open_url"])
    return alice, bob


@pytest.fixture
def alice(windows: tuple[Window, Window]) -> Window:
    return windows[0]


@pytest.fixture
def bob(windows: tuple[Window, Window]) -> Window:
    return windows[1]


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("screenshots", numbered=False)


@pytest.fixture(autouse=True)
def look(request: pytest.FixtureRequest, screenshots: Path, alice: Window, bob: Window) -> Iterator[None]:
    """Both notebooks are open when a test begins; how they look when it ends is kept, for people."""
    for window in (alice, bob):
        if window.page.is_closed():
            window.open_again()
    yield
    for window in (alice, bob):
        if not window.page.is_closed():
            window.page.screenshot(path=screenshots / f"{request.node.name}-{window.person.name}.png")


def eventually(condition: Callable[[], Any], what: str, seconds: float = 45) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)


def shown(notebook: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Of a notebook's cells, what people see of them."""
    return [
        (cell["id"], cell["cell_type"], "".join(cell["source"]), cell.get("outputs"))
        for cell in notebook["cells"]
    ]


def test_both_see_the_whole_notebook(alice: Window, bob: Window) -> None:
    assert bob.path == f"Shared with me/{NAME}"
    for window in (alice, bob):
        expect(window.cells).to_have_count(len(alice.file()["cells"]))
        expect(window.page.locator(".jp-Notebook h1")).to_contain_text("How strongly does compound A-17")
        expect(window.page.locator(".jp-RenderedImage img")).to_have_count(2)


def test_what_both_type_at_the_same_time_into_one_cell_is_there_for_both(alice: Window, bob: Window) -> None:
    alices, bobs = "# alice counts: one two three\n", "\n# bob counts: eins zwei drei"
    alice.enter(alice.cell("default_rng"), "Control+Home")
    bob.enter(bob.cell("default_rng"), "Control+End")
    for of_alice, of_bob in zip(alices, bobs, strict=False):
        alice.page.keyboard.type(of_alice)
        bob.page.keyboard.type(of_bob)
    alice.page.keyboard.type(alices[len(bobs) :])

    for window in (alice, bob):
        expect(window.cell("alice counts")).to_contain_text(bobs.strip(), timeout=SOON)
        expect(window.cell("bob counts")).to_contain_text(alices.strip(), timeout=SOON)
    source = alice.source("default_rng")
    assert source == bob.source("default_rng")
    assert source.startswith(alices)
    assert source.endswith(bobs)
    assert source.count("counts") == 2


def test_each_sees_the_others_cursor_with_a_name(alice: Window, bob: Window) -> None:
    for here, there in ((alice, bob), (bob, alice)):
        here.enter(here.cell("REPLICATES = 3"), "Control+End")
        here.page.keyboard.type("#")
        expect(there.names).to_have_text(here.person.name)
        # Exactly one: a person has one caret, wherever it was before.
        expect(there.cursors).to_have_count(1)
        expect(there.cell("REPLICATES = 3").locator(".jp-remote-cursor")).to_have_count(1)
        low = there.cursors.bounding_box()
        here.page.keyboard.press("Control+Home")
        eventually(
            lambda low=low, there=there: _above(there.cursors, low), "the caret moves up with its owner"
        )


def _above(cursor: Locator, box: Any) -> bool:
    now = cursor.bounding_box()
    return now is not None and now["y"] < box["y"]


def test_bob_runs_a_cell_with_his_own_kernel_and_alice_sees_the_output(alice: Window, bob: Window) -> None:
    bob.run_new_cell('import os\nprint("run on the server of", os.environ["JUPYTERHUB_USER"])')
    for window in (alice, bob):
        output = window.cell("JUPYTERHUB_USER").locator(".jp-OutputArea-output")
        expect(output).to_have_text("run on the server of bob", timeout=SOON)
        expect(window.cell("JUPYTERHUB_USER").locator(".jp-InputPrompt")).to_have_text(
            re.compile(r"\[\d+\]:")
        )


def test_a_plot_is_seen_by_both(alice: Window, bob: Window) -> None:
    bob.run_new_cell(
        "import matplotlib.pyplot as plt\nplt.plot([1, 4, 2])\nplt.title('bob plots')\nplt.show()"
    )
    for window in (alice, bob):
        image = window.cell("bob plots").locator(".jp-RenderedImage img")
        expect(image).to_have_count(1, timeout=SLOW)
        expect(image).to_be_visible()
        assert image.evaluate("image => image.complete && image.naturalWidth") > 300
    plots = [window.cell("bob plots").locator("img").get_attribute("src") for window in (alice, bob)]
    assert plots[0] == plots[1]


def test_both_files_hold_what_the_windows_show(alice: Window, bob: Window) -> None:
    bob.run_new_cell('print("for", "the", "files")')
    alice.enter(alice.cell('"the"'), "Control+End")
    alice.page.keyboard.type("  # said alice")
    expect(bob.cell("said alice").locator(".jp-OutputArea-output")).to_have_text(
        "for the files", timeout=SOON
    )

    written = 'print("for", "the", "files")  # said alice'
    for window in (alice, bob):
        eventually(lambda window=window: written in sources(window.file()), f"{window.person.name}'s file")
    eventually(lambda: shown(alice.file()) == shown(bob.file()), "the files are alike")
    (cell,) = [cell for cell in shown(alice.file()) if cell[2] == written]
    assert "".join(cell[3][0]["text"]) == "for the files\n"
    assert len(alice.file()["cells"]) == alice.cells.count() == bob.cells.count()


def test_reloading_the_page_keeps_everything_and_doubles_nothing(alice: Window, bob: Window) -> None:
    alice.enter(alice.cell("REPLICATES = 3"), "Control+End")
    alice.page.keyboard.type("\n# typed right before reloading")
    expect(bob.cell("typed right before reloading")).to_have_count(1, timeout=SOON)
    expected = [cell.inner_text() for cell in bob.cells.locator(".cm-content").all()]

    alice.page.reload()
    alice.wait_until_ready()
    for window in (alice, bob):
        expect(window.cells).to_have_count(len(expected))
        assert [cell.inner_text() for cell in window.cells.locator(".cm-content").all()] == expected
    written = "# typed right before reloading"
    eventually(lambda: any(written in source for source in sources(alice.file())), "the file holds it")
    assert len(alice.file()["cells"]) == len(expected)
    assert sum(source.count(written) for source in sources(alice.file())) == 1

    bob.enter(bob.cell("REPLICATES = 3"), "Control+Home")
    bob.page.keyboard.type("# and on it goes\n")
    expect(alice.cell("and on it goes")).to_have_count(1, timeout=SOON)


def test_the_other_is_in_the_list_of_collaborators_in_the_colour_of_the_cursor(alice: Window, bob: Window) -> None:
    bob.enter(bob.cell("REPLICATES = 3"), "Control+End")
    bob.page.keyboard.type("#")
    alice.page.locator(".jp-SideBar [data-id='jp-collaboration-panel']").click()
    entry = alice.page.locator(".jp-Collaborator", has_text="bob")
    expect(entry).to_have_count(1, timeout=SOON)
    colour = "element => getComputedStyle(element)"
    icon = entry.locator(".jp-CollaboratorIcon").evaluate(f"{colour}.backgroundColor")
    expect(alice.cursors).to_have_count(1, timeout=SOON)
    assert alice.cursors.evaluate(f"{colour}.borderLeftColor") == icon
    own = bob.page.locator("#jp-UserMenu .jp-MenuBar-anonymousIcon")
    assert own.evaluate(f"{colour}.backgroundColor") == icon, "he sees himself so, too"
    assert alice.page.locator("[data-command='collaboration:shared-link']").count() == 0
    alice.page.locator(".jp-SideBar [data-id='filebrowser']").click()


def test_notebook_7_is_live_too(alice: Window, bob: Window) -> None:
    tab = bob.new_tab(f"{bob.person.server_url}notebooks/{bob.path}")
    cell = tab.locator(".jp-Notebook .jp-Cell .cm-content", has_text="REPLICATES = 3")
    expect(cell).to_be_visible(timeout=SLOW)
    cell.click()
    tab.keyboard.press("Control+End")
    tab.keyboard.type("\n# from Notebook 7")
    expect(alice.cell("from Notebook 7")).to_have_count(1, timeout=SOON)
    alice.enter(alice.cell("from Notebook 7"), "Control+End")
    alice.page.keyboard.type(", and back")
    expect(cell).to_contain_text("from Notebook 7, and back", timeout=SOON)
    tab.close()


def test_what_a_reader_types_vanishes(alice: Window, bob: Window) -> None:
    (alice.person.home / "Reading.md").write_text("# For reading\n")
    tabs = [alice.new_tab(f"{alice.person.server_url}lab/tree/Reading.md")]
    editor = ".jp-FileEditor .cm-content"
    expect(tabs[0].locator(editor)).to_contain_text("For reading", timeout=SLOW)
    (document,) = [one for one in alice.person.status()["documents"] if one["path"] == "Reading.md"]
    body = {"username": "bob", "permissions": "read-only"}
    invite = alice.person.call("POST", f"/sessions/{document['document_id']}/invite", json=body).json()
    opened = bob.person.call("POST", f"/invites/{invite['invite_id']}/accept").json()["open_url"]
    tabs.append(bob.new_tab(opened))
    text = tabs[1].locator(editor)
    expect(text).to_contain_text("For reading", timeout=SLOW)
    expect(tabs[1].locator(".jp-Toolbar", has_text="read-only")).to_be_visible()
    text.click()
    tabs[1].keyboard.press("Control+End")
    tabs[1].keyboard.type("bob types")
    expect(text).not_to_contain_text("b", timeout=SOON)
    tabs[0].locator(editor).click()
    tabs[0].keyboard.press("Control+End")
    tabs[0].keyboard.type("alice types")
    expect(text).to_contain_text("alice types", timeout=SOON)
    tabs[1].keyboard.press("Backspace")
    dialog = tabs[1].locator(".jp-Dialog")
    expect(dialog).to_contain_text("You may only read this", timeout=SOON)
    # The page comes back by itself behind the question, with the deletion: it is not asked again.
    tabs[1].wait_for_timeout(2000)
    dialog.get_by_role("button", name="Continue").click()
    expect(dialog).to_have_count(0)
    expect(tabs[0].locator(editor)).to_contain_text("alice types")
    for tab in tabs:
        tab.close()


def test_the_status_bar_says_whether_the_link_is_live(alice: Window, bob: Window, screenshots: Path) -> None:
    for window in (alice, bob):
        expect(window.link).to_have_text("Collaboration: live")
    service_of(alice.person.demo).kill()
    for window in (alice, bob):
        expect(window.link).to_have_text("⚠ Collaboration: offline", timeout=SOON)
        expect(window.link).to_have_attribute("title", re.compile("kept on your server.*\n.*does not answer"))
    alice.page.screenshot(path=screenshots / "offline.png")
    alice.enter(alice.cell("REPLICATES = 3"), "Control+End")
    alice.page.keyboard.type("\n# while nobody could see it")
    # The Hub starts it again by itself.
    for window in (alice, bob):
        expect(window.link).to_have_text("Collaboration: live", timeout=2 * SLOW)
        expect(window.cell("while nobody could see it")).to_have_count(1, timeout=SOON)


def test_a_closed_windows_cursor_vanishes(alice: Window, bob: Window) -> None:
    bob.enter(bob.cell("REPLICATES = 3"), "Control+End")
    bob.page.keyboard.type("# bye")
    expect(alice.cursors).to_have_count(1)
    bob.page.close()
    expect(alice.cursors).to_have_count(0, timeout=SOON)
    expect(alice.cell("# bye")).to_have_count(1)


def test_a_tab_that_stays_open_while_its_server_restarts_catches_up(alice: Window, bob: Window) -> None:
    alice.dismiss_server_dialog()
    expected = len(alice.file()["cells"])
    alice.person.stop_server()
    alice.enter(alice.cell("REPLICATES = 3"), "Control+Home")
    alice.page.keyboard.insert_text("# alice, without a server\n")
    bob.enter(bob.cell("REPLICATES = 3"), "Control+End")
    bob.page.keyboard.type("\n# bob, meanwhile")
    expect(alice.cell("alice, without a server")).to_have_count(1)
    expect(alice.cell("bob, meanwhile")).to_have_count(0)
    expect(alice.link).to_have_text("⚠ Collaboration: your server does not answer")
    alice.person.start_server()
    # The Hub asks for a new login, which "Restart" in JupyterLab's dialog does in a tab of its own.
    alice.visit_own_server()

    for window in (alice, bob):
        expect(window.cell("alice, without a server")).to_have_count(1, timeout=SOON)
        expect(window.cell("bob, meanwhile")).to_have_count(1, timeout=SOON)
        expect(window.cells).to_have_count(expected)
        expect(window.link).to_have_text("Collaboration: live", timeout=SOON)
    assert alice.source("REPLICATES = 3") == bob.source("REPLICATES = 3")
    eventually(lambda: shown(alice.file()) == shown(bob.file()), "the files are alike")
