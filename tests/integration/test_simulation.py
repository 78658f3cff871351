"""Rule by rule under random attack: edits, saves, outside changes, crashes between any two steps, cuts, rights, losses.

After healing all rooms, tabs, files and PostgreSQL are equal; every edit that was acknowledged, or could be, is there
once; no edit of a reader is. See `support/attacks.py` for what exactly must become of each word.

`make test` tries the same few worlds each time; `make soak` as many new ones as RTC_SOAK_RUNS says.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from support.attacks import World
from support.simulation import Hub

from jupyter_rtc_amprenta import link
from jupyterhub_service import yjs_server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(0)]

SOAK = int(os.environ.get("RTC_SOAK_RUNS", "0"))
STEPS = 30
_TAGS = count()

# What people do all the time, and what happens now and then.
OFTEN = ["type"] * 8 + ["wait"] * 4 + ["start"] * 4 + ["start_yjs"] * 3 + ["save"]
SELDOM = ["append", "rewrite", "crash", "crash_at_start", "stop", "cut", "crash_yjs", "reload"]
CELLS = ["add_cell", "remove_cell", "move_cell", "run_cell"] * 2
LOSSES = ["make_reader", "make_writer", "make_writer", "remove", "lose_store", "delete_file", "check_out"]


def histories(actions: list[str], people: int) -> st.SearchStrategy[list[tuple[str, int, int]]]:
    """Lists of what happens: an action, at whose server, and a number for it to choose by."""
    step = st.tuples(st.sampled_from(actions), st.integers(0, people - 1), st.integers(0, 199))
    return st.lists(step, min_size=STEPS // 2, max_size=2 * STEPS)


def attacked(examples: int) -> settings:
    return settings(
        max_examples=SOAK or examples,
        derandomize=not SOAK,
        database=None,
        deadline=None,
        # A failing world takes half a minute: to shrink one would take hours. Its history is printed instead.
        phases=(Phase.generate,),
        print_blob=True,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for in the field is not waited for here."""
    monkeypatch.setattr(yjs_server, "RIGHTS_SECONDS", 0.2)
    monkeypatch.setattr(link, "_REFUSED_RETRY_SECONDS", 0.3)
    monkeypatch.setattr(link, "_LONGEST_RETRY_SECONDS", 1.0)


async def happens(
    database_url: str,
    folder: Path,
    kind: str,
    people: int,
    replicas: int,
    history: list[tuple[str, int, int]],
) -> None:
    tag = next(_TAGS)
    home = folder / str(tag)
    home.mkdir()
    world = World(Hub(database_url, replicas, f"_{tag}"), home, kind, people)
    try:
        await world.begin()
        for action, server, number in history:
            await world.happens(action, server, number)
        await world.heal()
        await world.become_whole()
        await world.check()
    finally:
        await world.end()
        shutil.rmtree(home)


def drive(*args) -> None:
    note(f"{args[2:]}")
    asyncio.run(happens(*args))


@given(history=histories(OFTEN + SELDOM, 2), replicas=st.integers(1, 2))
@attacked(12)
def test_a_text_of_two(database_url, tmp_path, history, replicas):
    drive(database_url, tmp_path, "text", 2, replicas, history)


@given(history=histories(OFTEN + SELDOM + CELLS, 2), replicas=st.integers(1, 2))
@attacked(12)
def test_a_notebook_of_two(database_url, tmp_path, history, replicas):
    drive(database_url, tmp_path, "notebook", 2, replicas, history)


@given(history=histories(OFTEN + SELDOM + CELLS + LOSSES, 3), kind=st.sampled_from(["text", "notebook"]))
@attacked(12)
def test_three_of_whom_some_lose_their_right_their_store_or_their_file(database_url, tmp_path, history, kind):
    drive(database_url, tmp_path, kind, 3, 2, history)
