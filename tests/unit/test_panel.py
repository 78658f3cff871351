"""Who is on other servers is told to JupyterLab's pages as its own list takes it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pycrdt import Awareness, Doc

from jupyter_rtc_amprenta import panel as module
from jupyter_rtc_amprenta.core import protocol
from jupyter_rtc_amprenta.panel import Panel, elsewhere

BOB = {"username": "bob", "name": "Bob", "display_name": "Bob", "initials": "B", "color": "red"}
ALICE = {"username": "alice", "name": "Alice"}


def room(path: str, *users: Any) -> Any:
    """A room of alice's server, with people from other servers in it."""
    return SimpleNamespace(
        ready=True,
        linking=SimpleNamespace(owner="alice"),
        linked=SimpleNamespace(file=SimpleNamespace(path=path)),
        link_awareness=SimpleNamespace(elsewhere=lambda: list(users)),
    )


class Pages:
    """JupyterLab's room for all its pages, and what it has been told."""

    def __init__(self) -> None:
        self.awareness = Awareness(Doc())
        self.told: list[str] = []
        self.awareness.observe(self._observed)

    def _observed(self, topic: str, change: Any) -> None:
        changes, origin = change
        if topic == "update":
            # pycrdt passes on to the pages what has this origin.
            assert origin == "local"
            self.told += [kind for kind, clients in changes.items() for _ in clients]

    def shown(self) -> dict[str, list[str]]:
        states = self.awareness.states.values()
        return {state["user"]["username"]: state["documents"] for state in states if state.get("user")}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Time as the panel sees it, set by hand; it begins right after what is told again and again was told."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(module.time, "time", lambda: clock.now)
    return clock


def test_everybody_is_one_entry_with_all_documents_and_the_owner_is_none() -> None:
    people = elsewhere([room("a.ipynb", BOB, BOB, ALICE), room("b.md", BOB), room("c.md", {"name": 3}, {})])
    assert {name: state["documents"] for name, state in people.items()} == {"bob": ["a.ipynb", "b.md"]}
    assert people["bob"]["user"] == BOB


def test_who_comes_and_goes_is_told_once_and_who_stays_again_in_time(clock: SimpleNamespace) -> None:
    pages, rooms = Pages(), {"a": room("a.ipynb", BOB)}
    panel = Panel(rooms, lambda: pages)  # type: ignore[arg-type, return-value]
    panel.show()
    assert pages.shown() == {"bob": ["a.ipynb"]}
    clock.now += 3
    panel.show()
    assert pages.told == ["added"]
    clock.now += module._REPEAT_SECONDS
    panel.show()
    assert pages.told == ["added", "updated"]
    clock.now += 3
    rooms.clear()
    panel.show()
    assert pages.told == ["added", "updated", "removed"]
    assert pages.shown() == {}


def test_a_page_that_is_opened_later_learns_of_those_who_are_there(clock: SimpleNamespace) -> None:
    rooms: Any = {"a": room("a.ipynb", BOB)}
    pages: list[Pages] = []
    panel = Panel(rooms, lambda: pages[0] if pages else None)  # type: ignore[arg-type, return-value]
    panel.show()
    clock.now += 3
    pages.append(Pages())
    panel.show()
    assert pages[0].shown() == {"bob": ["a.ipynb"]}


def test_the_state_is_one_that_pages_can_read(clock: SimpleNamespace) -> None:
    pages = Pages()
    Panel({"a": room("a.ipynb", BOB)}, lambda: pages).show()  # type: ignore[dict-item, arg-type, return-value]
    (state,) = protocol.decode_states(pages.awareness.encode_awareness_update(
        [client for client, state in pages.awareness.states.items() if state.get("user")]
    ))  # fmt: skip
    assert state.state == {"user": BOB, "current": None, "documents": ["a.ipynb"]}
