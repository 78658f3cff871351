"""The command `jupyter-rtc demo`: it starts, stops and comes back as it was left; see test_two_people.py too."""

from __future__ import annotations

import json
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from support.running_demo import RunningDemo

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]


@pytest.fixture
def own_demo(tmp_path: Path) -> Iterator[RunningDemo]:
    """A demo that the test may stop and kill; not started yet."""
    demo = RunningDemo(tmp_path / "demo")
    yield demo
    demo.end()


def jupyter_rtc(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jupyter_rtc_amprenta.cli", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def log_in(demo: RunningDemo, user: str, password: str) -> requests.Response:
    """Fills in the Hub's form, as a person does."""
    browser = requests.Session()
    form = browser.get(f"{demo.ready['hub_url']}/hub/login", timeout=30).text
    xsrf = re.search(r'name="_xsrf" value="([^"]*)"', form)
    assert xsrf is not None
    data = {"username": user, "password": password, "_xsrf": xsrf[1]}
    return browser.post(f"{demo.ready['hub_url']}/hub/login", data=data, timeout=60)


def put_file(demo: RunningDemo, user: str, name: str, text: str) -> None:
    url = f"{demo.ready['users'][user]['server_url']}api/contents/{name}"
    model = {"type": "file", "format": "text", "content": text}
    assert demo.request("PUT", url, user, json=model).status_code == 201


def test_what_is_ready_can_be_used(demo: RunningDemo) -> None:
    ready = demo.ready
    assert set(ready) == {"hub_url", "service_url", "yjs_url", "yjs_health_url", "database_url", "users"}
    assert stat.S_IMODE(demo.ready_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(demo.directory.stat().st_mode) == 0o700
    assert ready["service_url"] == f"{ready['hub_url']}/services/rtc"
    assert requests.get(f"{ready['service_url']}/health", timeout=10).status_code == 200
    assert requests.get(ready["yjs_health_url"], timeout=10).status_code == 200
    for user in ("alice", "bob"):
        assert ready["users"][user]["server_url"] == f"{ready['hub_url']}/user/{user}/"
        put_file(demo, user, "note.txt", "grüße")
        assert Path(ready["users"][user]["home"], "note.txt").read_text() == "grüße"
    assert demo.request("GET", f"{ready['users']['bob']['server_url']}api/contents", "alice").status_code in (
        403,
        404,
    )


def test_only_its_users_get_in_and_only_with_the_password(demo: RunningDemo) -> None:
    password = re.search(r"Password +(\S+)", demo.output)
    assert password is not None
    entered = log_in(demo, "alice", password[1])
    assert entered.status_code == 200
    assert "/hub/login" not in entered.url
    assert log_in(demo, "alice", "guessed-password").status_code == 403
    assert log_in(demo, "mallory", password[1]).status_code == 403


def test_the_first_user_finds_a_real_notebook(demo: RunningDemo) -> None:
    ready = demo.ready
    notebook = json.loads(Path(ready["users"]["alice"]["home"], "Welcome.ipynb").read_text())
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    shown = {kind for output in outputs for kind in output.get("data", {})}
    assert len(notebook["cells"]) >= 20
    assert {"image/png", "text/html"} <= shown
    assert any(output["output_type"] == "stream" for output in outputs)
    assert not Path(ready["users"]["bob"]["home"], "Welcome.ipynb").exists()


def test_one_directory_has_one_demo(demo: RunningDemo) -> None:
    second = jupyter_rtc("demo", f"--dir={demo.directory}", "--no-browser")
    assert second.returncode == 1
    assert f"A demo runs in {demo.directory} already" in second.stderr
    assert requests.get(demo.ready["yjs_health_url"], timeout=10).status_code == 200


def test_ends_what_a_killed_launcher_left_behind(own_demo: RunningDemo) -> None:
    first = own_demo.start()
    own_demo.start_server("alice")
    put_file(own_demo, "alice", "mine.txt", "kept")
    home = Path(first["users"]["alice"]["home"])
    (home / "Welcome.ipynb").unlink()
    left = own_demo.processes()
    assert own_demo.process is not None
    own_demo.process.kill()
    own_demo.process.wait()

    assert own_demo.start() == first
    assert not any(process.is_running() for process in left)
    assert (home / "mine.txt").read_text() == "kept"
    assert not (home / "Welcome.ipynb").exists(), "what was deleted stays deleted"
    assert own_demo.stop(signal.SIGTERM) == 0


def test_says_so_when_the_hub_dies(own_demo: RunningDemo) -> None:
    own_demo.start()
    hub = next(process for process in own_demo.processes() if "jupyterhub" in process.cmdline())
    hub.kill()
    assert own_demo.process is not None
    assert own_demo.process.wait(60) == 1
    assert "JupyterHub has stopped" in own_demo.output
    assert own_demo.processes() == []


@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.5])
def test_can_be_interrupted_while_it_starts(own_demo: RunningDemo, seconds: float) -> None:
    process = own_demo.launch()
    while "Starting" not in own_demo.output:
        time.sleep(0.02)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert "Traceback" not in own_demo.output
    assert own_demo.processes() == []
    assert own_demo.postgres.pid is None


def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = jupyter_rtc("demo", f"--dir={tmp_path / 'demo'}", f"--port={port}", "--no-browser")
    assert done.returncode == 1
    assert (
        done.stderr
        == f"jupyter-rtc: Port {port} is taken by another program. Choose another one with --port.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--users=Alice"], "'Alice' can't be a user's name"),
        (["--users=../bob"], "'../bob' can't be a user's name"),
        (["--users=alice,alice"], "a user is named twice"),
        (["--port=99999"], "'99999' is no port"),
    ],
)
def test_a_wrong_argument_is_one_clear_line(arguments: list[str], message: str) -> None:
    done = jupyter_rtc("demo", *arguments)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
