"""An image as its Dockerfile says, without a container engine: a folder, and a virtual environment of its own.

What a RUN line does to the system itself is looked at rather than done: Debian's packages must exist, accounts are
left to the engine. All else is done: packages are installed into an empty environment (by `uv`, since it takes seconds
where pip takes minutes), files are made under the image's own root.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = "/src"  # where the Dockerfiles see the project
_INSTRUCTION = re.compile(r"([A-Z]+)\s+(.*)", re.DOTALL)
_OPTION = re.compile(r"--(?:mount|chmod)=\S+\s+")
# Folders of the image, wherever they stand in a command.
_PATH = re.compile(r"(?<![\w.])/(?=(?:etc|home|srv|var|data|config|usr/local/bin)(?:/|\b))")


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Its instructions in order, with their options left out and their lines joined."""
    lines = (line for line in dockerfile.read_text().splitlines() if not line.lstrip().startswith("#"))
    whole = re.sub(r"\\\n\s*", "", "\n".join(line.rstrip() for line in lines))
    found = (_INSTRUCTION.fullmatch(line.strip()) for line in whole.splitlines() if line.strip())
    return [(match[1], _OPTION.sub("", match[2])) for match in found if match]


class Image:
    """One image, built in `folder`.

    Attributes:
        root: its file system, as far as it differs from an empty one.
        environment: what its ENV lines set.
        command: ENTRYPOINT and CMD.
        user: who runs it.
        debian_packages: what it takes from Debian.
    """

    def __init__(self, dockerfile: Path, folder: Path) -> None:
        self.root = folder / "root"
        self.venv = folder / "venv"
        self.environment: dict[str, str] = {}
        self.entrypoint: list[str] = []
        self.cmd: list[str] = []
        self.user = "root"
        self.workdir = "/"
        self.debian_packages: list[str] = []
        self._arguments: dict[str, str] = {}
        self._context = dockerfile.parent
        for name, text in instructions(dockerfile):
            getattr(self, f"_{name.lower()}")(text)

    @property
    def command(self) -> list[str]:
        return [*self.entrypoint, *self.cmd]

    def variables(self) -> dict[str, str]:
        """The environment of a process in it: nothing of the tests' own environment."""
        home = self.path("/home/nobody")
        home.mkdir(parents=True, exist_ok=True)
        places = [self.venv / "bin", self.path("/usr/local/bin"), *os.environ["PATH"].split(os.pathsep)]
        return {
            "PATH": os.pathsep.join(map(str, places)),
            "HOME": str(home),
            "LANG": "C.UTF-8",
            # Where Jupyter would look in /etc.
            "JUPYTER_CONFIG_PATH": str(self.path("/etc/jupyter")),
            **{name: self.rerooted(value) for name, value in self.environment.items()},
        }

    def path(self, inside: str) -> Path:
        """Where a path of the image lies here."""
        return self.root / inside.lstrip("/")

    def rerooted(self, text: str) -> str:
        """The same text, with the image's folders where they lie here."""
        return _PATH.sub(f"{self.root}/", text)

    def _from(self, text: str) -> None:
        self.base = text
        self.root.mkdir(parents=True)

    def _arg(self, text: str) -> None:
        name, _, value = text.partition("=")
        self._arguments[name] = value

    def _env(self, text: str) -> None:
        self.environment |= dict(one.split("=", 1) for one in shlex.split(text))

    def _copy(self, text: str) -> None:
        *sources, target = shlex.split(text)
        place = self.path(target)
        (place if target.endswith("/") else place.parent).mkdir(parents=True, exist_ok=True)
        for source in sources:
            copied = shutil.copy(self._context / source, place)
            Path(copied).chmod(0o755)

    def _workdir(self, text: str) -> None:
        self.workdir = text
        self.path(text).mkdir(parents=True, exist_ok=True)

    def _user(self, text: str) -> None:
        self.user = text

    def _expose(self, text: str) -> None:
        assert all(port.isdigit() for port in text.split())

    def _entrypoint(self, text: str) -> None:
        self.entrypoint = json.loads(text)

    def _cmd(self, text: str) -> None:
        self.cmd = json.loads(text)

    def _run(self, text: str) -> None:
        for name, value in self._arguments.items():
            text = text.replace(f"${{{name}}}", value)
        for command in text.split("&&"):
            words = shlex.split(command)
            if words[0] == "apt-get":
                self.debian_packages += [word for word in words[2:] if not word.startswith("-")]
            elif words[0] == "pip":
                self._pip(words[1:])
            elif words[0] in ("useradd", "adduser", "chown"):
                pass  # an account is the engine's affair
            elif words[0] in ("mkdir", "printf", "rm"):
                subprocess.run(["sh", "-c", self.rerooted(command)], check=True)
            else:
                raise AssertionError(f"what does {words[0]} do to an image? Say it here: {command}")

    def choose_for_its_python(self, folder: Path) -> subprocess.CompletedProcess[str]:
        """What pip would install with the image's own Python, on Linux; nothing is installed."""
        version = re.match(r"python:(\d+\.\d+)", self.base)[1]
        options = [
            f"--python-version={version}",
            "--python-platform=x86_64-manylinux_2_36",
            f"--target={folder}",
        ]
        command = [_uv(), "pip", *self._pip_words, "--dry-run", "--only-binary=:all:", *options]
        return subprocess.run(command, capture_output=True, text=True)

    def _pip(self, words: list[str]) -> None:
        python = self.venv / "bin" / "python"
        subprocess.run([_uv(), "venv", "--quiet", "--python", sys.executable, str(self.venv)], check=True)
        # The engine starts with an empty cache anyway.
        self._pip_words = [word.replace(SOURCE, str(ROOT), 1) for word in words if word != "--no-cache-dir"]
        subprocess.run([_uv(), "pip", *self._pip_words, "--quiet", f"--python={python}"], check=True)


def _uv() -> str:
    return shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
