"""What a reader types is taken back in their page: the page shows the room's document again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from jupyter_ydoc import YNotebook
from pycrdt import Map

from jupyter_rtc_amprenta.core.protocol import EMPTY_UPDATE
from jupyter_rtc_amprenta.retraction import Retraction

CELL = {"id": "one", "cell_type": "code", "source": "x = 1", "metadata": {}, "outputs": [], "execution_count": 3}


class Reading:
    """A room, and the page of somebody who may only read it."""

    def __init__(self) -> None:
        self.room, self.page = YNotebook(), YNotebook()
        self.room.set(
            {"cells": [CELL], "metadata": {"language_info": {"name": "a"}}, "nbformat": 4, "nbformat_minor": 5}
        )
        self.room.dirty = False
        self.retraction = Retraction(self.room.ydoc, YNotebook)
        self.hear()

    def hear(self) -> None:
        """The page learns what is new in the room."""
        self.page.ydoc.apply_update(self.room.ydoc.get_update(self.page.ydoc.get_state()))

    def edit(self, change: Callable[[YNotebook], object]) -> bytes | None:
        """The page changes something and says so, as JupyterLab does, and applies what comes back."""
        state = self.page.ydoc.get_state()
        with self.page.ydoc.transaction():
            change(self.page)
            self.page.dirty = True
        answer = self.retraction.take_back(self.page.ydoc.get_update(state))
        if answer is not None:
            self.page.ydoc.apply_update(answer)
        return answer

    def shows_the_room(self) -> bool:
        return self.page.get() == self.room.get()


def test_what_is_typed_vanishes_again_and_again() -> None:
    reading = Reading()
    for at in (0, 3, 5):
        answer = reading.edit(lambda page, at=at: page.ycells[0]["source"].insert(at, "typed"))
        assert answer not in (None, EMPTY_UPDATE)
        assert reading.shows_the_room()


def test_a_new_cell_and_a_new_output_vanish() -> None:
    reading = Reading()
    assert reading.edit(lambda page: page.append_cell(CELL | {"id": "two"}))
    assert reading.shows_the_room()
    assert reading.edit(lambda page: page.ycells[0]["outputs"].append(Map({"output_type": "stream"})))
    assert reading.shows_the_room()


def test_what_others_write_meanwhile_stays_and_what_they_delete_goes() -> None:
    reading = Reading()
    reading.edit(lambda page: page.ycells[0]["source"].insert(5, "typed"))
    reading.room.ycells[0]["source"].insert(0, "# alice\n")
    del reading.room.ycells[0]["source"][8:10]
    reading.hear()
    assert reading.edit(lambda page: page.ycells[0]["source"].insert(4, "more"))
    assert reading.shows_the_room()
    assert reading.page.get()["cells"][0]["source"] == "# alice\n= 1"


@pytest.mark.parametrize(
    "change",
    [
        lambda page: page.ycells[0]["source"].__delitem__(slice(0, 1)),
        lambda page: page.ycells.__delitem__(0),
        lambda page: page.ycells[0].__setitem__("execution_count", 4),
    ],
    ids=["a-letter", "a-cell", "a-number"],
)
def test_what_is_deleted_can_only_be_had_back_by_reloading(change: Callable[[YNotebook], object]) -> None:
    assert Reading().edit(change) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda page: page._ymeta["metadata"].__setitem__("language_info", {"name": "b"}),
        lambda page: page.ycells[0].__setitem__("execution_state", "idle"),
        lambda page: page.ycells[0]["metadata"].__setitem__("collapsed", True),
    ],
    ids=["kernel", "state", "metadata"],
)
def test_what_pages_write_by_themselves_asks_nobody_to_reload(change: Callable[[YNotebook], object]) -> None:
    assert Reading().edit(change) is not None


def test_an_update_that_holds_nothing_new_needs_no_answer() -> None:
    reading = Reading()
    assert reading.retraction.take_back(EMPTY_UPDATE) == EMPTY_UPDATE
    assert reading.retraction.take_back(reading.room.ydoc.get_update()) == EMPTY_UPDATE


def test_what_is_no_update_is_refused() -> None:
    with pytest.raises(ValueError):
        Reading().retraction.take_back(b"\xff\xff\xff")
