"""`jupyter-rtc demo`: starts all parts in order, waits, and stops them in the opposite order."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from jupyter_rtc_amprenta.core.migrate import upgrade

from .console import Console
from .directory import TEAM, DemoDirectory, write_private
from .errors import DemoError
from .hub import Hub, HubSettings
from .logs import tail
from .notebook.build import NOTEBOOK as SAMPLE_NOTEBOOK
from .ports import PATIENCE, any_free_port, choose_ports, is_free, one_start_at_a_time
from .postgres import EmbeddedPostgres
from .processes import end_all
from .proxy import VERSION, fetch_proxy, find_proxy

DATABASE = "rtc"
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Options:
    """What the command line asks for.

    Attributes:
        port: where the Hub listens; 0 takes a free port.
        users: their names; the first one's home gets the sample notebook.
        directory: where everything is kept.
        ready_file: written once all is up.
        browser: whether to open one.
    """

    port: int
    users: list[str]
    directory: Path
    ready_file: Path | None
    browser: bool


class Interrupted(BaseException):
    """A signal asked the demo to stop; it passes through every `except Exception`."""


class Demo:
    """One run of the demo."""

    def __init__(self, options: Options, console: Console) -> None:
        self.options = options
        self.console = console
        self.directory = DemoDirectory(options.directory)
        self.postgres = EmbeddedPostgres(
            self.directory.postgres, log_file=self.directory.logs / "postgres.log"
        )
        self.hub: Hub | None = None
        self.started = False  # whether there is anything to stop

    def start(self) -> dict[str, Any]:
        """Starts everything and returns what the ready file holds.

        Raises:
            DemoError: a part did not start.
        """
        self._take_directory()
        self.console.say(f"Starting the demo in {self.directory.path}")
        self._end_leftovers()
        if self.options.port and not is_free(self.options.port, PATIENCE):
            raise DemoError(
                f"Port {self.options.port} is taken by another program. Choose another one with --port."
            )
        self._make_homes()
        proxy_command = self._proxy()
        with one_start_at_a_time():
            self.started = True
            ready = self._describe(self._start_servers(proxy_command))
        self.directory.save()
        if self.options.ready_file:
            write_private(self.options.ready_file, ready)
        return ready

    def _start_servers(self, proxy_command: list[str]) -> Hub:
        with self.console.step("PostgreSQL"):
            self.postgres.start()
            database_url = self.postgres.create_database(DATABASE)
            upgrade(database_url)
        with self.console.step("JupyterHub, its proxy, the service rtc"):
            self.hub = Hub(self.directory, self._hub_settings(proxy_command, database_url))
            self.hub.start()
        return self.hub

    def wait(self) -> None:
        """Waits until a signal interrupts it.

        Raises:
            DemoError: the Hub has ended by itself.
        """
        assert self.hub is not None
        self.hub.wait()
        raise DemoError(f"JupyterHub has stopped. Its log ends with:\n{tail(self.hub.log_file)}")

    def stop(self) -> None:
        """Stops whatever this run has started, in the opposite order, and leaves the directory."""
        if self.started:
            with self.console.step("stopping all of it"):
                if self.hub is not None:
                    self.hub.stop()
                end_all(self.directory.path)
                self.postgres.stop()
            self._remove_ready_file()
        self.directory.close()

    def _take_directory(self) -> None:
        """Makes sure that this is the only demo here, and that nobody takes an old ready file for a new one."""
        ready_file = self.options.ready_file
        if ready_file and not os.access(ready_file.parent, os.W_OK):
            raise DemoError(f"No file can be written in {ready_file.parent}, where --ready-file points to.")
        self.directory.open()
        self._remove_ready_file()

    def _end_leftovers(self) -> None:
        """Ends what a killed demo left behind; its database is taken over as it is."""
        ended = end_all(self.directory.path)
        if ended:
            self.console.say(f"  ended {ended} processes that an earlier demo had left here")

    def _public_port(self) -> int:
        """The port that was asked for; for 0 the one of the last start, if it is free, else any."""
        kept = self.directory.kept
        if self.options.port:
            return self.options.port
        if "port" not in kept or not is_free(kept["port"], PATIENCE):
            kept["port"] = any_free_port()
        return kept["port"]

    def _make_homes(self) -> None:
        """Makes each user's home, with the shared folder; the first user's gets the sample notebook when it is made."""
        for user in self.options.users:
            root = self.directory.root(user)
            if not root.exists():
                root.mkdir(parents=True)
                _make_lab_defaults(self.directory.home(user))
                if user == self.options.users[0]:
                    shutil.copyfile(SAMPLE_NOTEBOOK, root / SAMPLE_NOTEBOOK.name)
            if not os.path.lexists(root / TEAM):
                (root / TEAM).symlink_to(self.directory.team, target_is_directory=True)

    def _proxy(self) -> list[str]:
        command = find_proxy()
        if command is None:
            with self.console.step(f"fetching the Hub's proxy {VERSION} (once)"):
                command = fetch_proxy(self.directory.logs / "npm.log")
        return command

    def _hub_settings(self, proxy_command: list[str], database_url: str) -> HubSettings:
        directory = self.directory
        port = self._public_port()
        directory.kept["ports"] = choose_ports(directory.kept.get("ports", {}), port)
        settings = HubSettings(
            folder=str(directory.hub),
            log_dir=str(directory.logs),
            home_template=str(directory.home("{username}")),
            root_template=str(directory.root("{username}")),
            team=str(directory.team),
            port=port,
            ports=directory.kept["ports"],
            users=self.options.users,
            password=directory.password(),
            database_url=database_url,
            proxy_command=proxy_command,
            proxy_token=directory.secret("proxy_token"),
            launcher_token=directory.secret("launcher_token"),
        )
        directory.save()
        return settings

    def _describe(self, hub: Hub) -> dict[str, Any]:
        users = {
            user: {
                "token": hub.token(user),
                "server_url": f"{hub.url}/user/{user}/",
                "home": str(self.directory.root(user)),
            }
            for user in self.options.users
        }
        return {
            "hub_url": hub.url,
            "service_url": hub.service_url,
            "yjs_url": f"ws://127.0.0.1:{hub.settings.ports['yjs']}",
            "yjs_health_url": hub.yjs_health_url,
            "database_url": hub.settings.database_url,
            "users": users,
        }

    def _remove_ready_file(self) -> None:
        if self.options.ready_file:
            self.options.ready_file.unlink(missing_ok=True)


def run(options: Options) -> None:
    """Runs the demo until Ctrl-C or SIGTERM.

    Raises:
        DemoError: it could not start, or the Hub ended by itself.
    """
    console = Console()
    demo = Demo(options, console)
    for number in STOP_SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN or number != signal.SIGHUP:  # `nohup` ignores SIGHUP
            signal.signal(number, _interrupt)
    try:
        ready = demo.start()
        _greet(console, demo, ready)
        if options.browser and _has_display():
            webbrowser.open(ready["hub_url"])
        demo.wait()
    except Interrupted:
        console.say()
    except OSError as error:  # a full disk, a folder that can't be written
        raise DemoError(str(error)) from error
    finally:
        for number in STOP_SIGNALS:  # stopping has its own deadlines: let it come to its end
            signal.signal(number, signal.SIG_IGN)
        demo.stop()


def _make_lab_defaults(home: Path) -> None:
    """Spares newcomers JupyterLab's question about news; they can change it in its settings."""
    overrides = home / ".jupyter" / "labconfig" / "default_setting_overrides.json"
    overrides.parent.mkdir(parents=True, exist_ok=True)
    overrides.write_text(json.dumps({"@jupyterlab/apputils-extension:notification": {"fetchNews": "false"}}))


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted


def _greet(console: Console, demo: Demo, ready: dict[str, Any]) -> None:
    users = demo.options.users
    console.say(f"""
  Open        {ready["hub_url"]}
  Invite at   {ready["service_url"]}/
  Log in as   {", ".join(users)}
  Password    {demo.directory.kept["password"]}

  {users[0]}'s files hold {SAMPLE_NOTEBOOK.name}. For a second person, use another browser or a private window.
  What is in the folder {TEAM} all of them have, and open as one document.
  Logs are in {demo.directory.logs}. Ctrl-C stops everything; nothing is lost.
""")


def _has_display() -> bool:
    """Whether there is somebody before a screen, for whom a browser can be opened."""
    if os.environ.get("CI") or not sys.stdout.isatty():
        return False
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
