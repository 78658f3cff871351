"""What `pip install` gives."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

pytestmark = pytest.mark.acceptance

ROOT = Path(__file__).parents[2]


def test_installing_enables_the_extension() -> None:
    command = [sys.executable, "-m", "jupyter_server.extension.serverextension", "list"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    lines = [line.split() for line in (done.stdout + done.stderr).splitlines()]
    ours = [line for line in lines if line and line[0] == "jupyter_rtc_amprenta"]
    assert any("enabled" in line[1] for line in ours), done.stderr
    assert any("OK" in line[-1] for line in ours), done.stderr


def test_jupyterlab_finds_its_extension() -> None:
    command = [sys.executable, "-m", "jupyter", "labextension", "list", "--verbose"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    (line,) = [line for line in (done.stdout + done.stderr).splitlines() if "jupyter-rtc-amprenta" in line]
    assert f"v{metadata.version('jupyter-rtc-amprenta')}" in line
    assert "OK" in line


def test_the_wheel_holds_both_packages_and_their_data(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        f"--wheel-dir={tmp_path}",
        str(ROOT),
    ]
    subprocess.run(command, check=True, timeout=150)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    distribution, version = wheel.name.split("-")[:2]
    for name in (
        f"{distribution}-{version}.data/data/etc/jupyter/jupyter_server_config.d/jupyter_rtc_amprenta.json",
        f"{distribution}-{version}.data/data/share/jupyter/labextensions/jupyter-rtc-amprenta/static/remoteEntry.js",
        "jupyter_rtc_amprenta/core/migrations/env.py",
        "jupyter_rtc_amprenta/demo/jupyterhub_config.py",
        "jupyter_rtc_amprenta/demo/notebook/Welcome.ipynb",
        "jupyterhub_service/__main__.py",
        "jupyterhub_service/static/page.css",
        "jupyterhub_service/templates/index.html",
        f"{distribution}-{version}.dist-info/licenses/LICENSE",
    ):
        assert name in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {
        "jupyter_rtc_amprenta",
        "jupyterhub_service",
    }
