"""What acceptance tests share: a demo, used by those that leave it as healthy as they found it, and a browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import Browser, expect, sync_playwright
from support.running_demo import RunningDemo

# Where several files run beside each other, a page takes longer than the five seconds that Playwright waits.
expect.set_options(timeout=30_000)

FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    """alice, bob and carol on one Hub; alice's and bob's servers run."""
    demo = RunningDemo(tmp_path_factory.mktemp("shared") / "demo", users="alice,bob,carol", pages=True)
    try:
        demo.start()
        with ThreadPoolExecutor() as threads:
            list(threads.map(demo.start_server, ("alice", "bob")))
        yield demo
    finally:
        demo.end()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium, without a screen. Of a module's own: while it runs, no other event loop can in this thread."""
    # The first is Debian's without all that a screen needs: the same, in less time.
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    found = [path for name in names if (path := shutil.which(name))]
    if not found:
        message = "LOUD: there is no Chromium or Chrome, so nothing was tested in real browsers"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    # Chromium's sandbox needs an ordinary user.
    flags = [*FLAGS, "--no-sandbox"] if os.geteuid() == 0 else FLAGS
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found[0], args=flags)
        yield browser
        browser.close()
