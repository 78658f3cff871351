"""A pgbouncer of the tests' own, which gives each transaction any of a few sessions."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg2
from sqlalchemy.engine import make_url

from jupyter_rtc_amprenta.demo.ports import any_free_port

_INI = """
[databases]
* = host={host} port={port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = transaction
# So few that every session is used by everybody.
default_pool_size = 2
max_client_conn = 200
"""


class PgBouncer:
    """Transaction pooling in front of a server.

    Args:
        url: of a database of the server.
    """

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self._port = any_free_port()
        self._folder = TemporaryDirectory()
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def is_there() -> bool:
        return shutil.which("pgbouncer") is not None

    @property
    def url(self) -> str:
        """Of the same database, through it."""
        return self._url.set(host="127.0.0.1", port=self._port).render_as_string(hide_password=False)

    def start(self) -> None:
        folder = Path(self._folder.name)
        # It refuses to run as root.
        folder.chmod(0o755)
        users = folder / "users.txt"
        users.write_text(f'"{self._url.username}" "{self._url.password}"\n')
        parts = {"host": self._url.host, "port": self._url.port, "own_port": self._port, "users": users}
        (folder / "pgbouncer.ini").write_text(_INI.format(**parts))
        other = ["-u", "nobody"] if os.geteuid() == 0 else []
        self._process = subprocess.Popen(["pgbouncer", "-q", *other, str(folder / "pgbouncer.ini")])
        deadline = time.monotonic() + 10
        while True:
            try:
                psycopg2.connect(self.url).close()
                return
            except psycopg2.OperationalError:
                assert time.monotonic() < deadline, "pgbouncer does not answer"
                time.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()
