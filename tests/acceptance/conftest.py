"""The demo that acceptance tests share: those use it that leave it as healthy as they found it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.running_demo import RunningDemo


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    """alice, bob and carol on one Hub; alice's and bob's servers run."""
    demo = RunningDemo(tmp_path_factory.mktemp("shared") / "demo", users="alice,bob,carol")
    try:
        demo.start()
        with ThreadPoolExecutor() as threads:
            list(threads.map(demo.start_server, ("alice", "bob")))
        yield demo
    finally:
        demo.end()
