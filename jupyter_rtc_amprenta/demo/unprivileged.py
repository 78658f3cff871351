"""How root runs PostgreSQL, which refuses to run as root.

The server becomes `nobody`, and keeps one capability: to pass through folders that only root may
enter, such as root's home, where the data or the virtual environment may lie. The usual way
round, opening those folders for everybody, would outlive the demo.
"""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path

from .errors import DemoError

USER = "nobody"
# Bit numbers in /proc/self/status. Of the two that open folders the weaker comes first; containers often lack it.
OPENING = {"dac_read_search": 2, "dac_override": 1}
SETPCAP = 8


def command_prefix() -> list[str]:
    """What to put before a PostgreSQL command; nothing, unless root runs it.

    Raises:
        DemoError: root cannot become another user here.
    """
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise DemoError(
            "PostgreSQL does not run as root, and there is no `setpriv` (util-linux) to become another user: "
            "run this as an ordinary user."
        )
    entry = pwd.getpwnam(USER)
    prefix = [setpriv, f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]
    permitted = _permitted()
    capability = next((name for name, bit in OPENING.items() if permitted >> bit & 1), None)
    if capability:
        prefix += [f"--inh-caps=+{capability}", f"--ambient-caps=+{capability}"]
        if permitted >> SETPCAP & 1:
            prefix.append(
                "--securebits=+no_setuid_fixup"
            )  # else access(2), by which initdb looks, ignores it
    return prefix


def give(*paths: Path) -> None:
    """Hands files over to the server's user, if root makes them."""
    if os.geteuid() == 0:
        entry = pwd.getpwnam(USER)
        for path in paths:
            os.chown(path, entry.pw_uid, entry.pw_gid)


def _permitted() -> int:
    """The capabilities that this process may pass on, as bits; none where /proc does not tell."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapPrm"))
