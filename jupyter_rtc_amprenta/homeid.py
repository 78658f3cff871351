"""The name of a home: by it the service knows the files of all servers that share a folder as the same files.

It lies with the files, in `.jupyter/rtc_home_id` under the server's root, apart from the local store: a store on a
container's own disk, or one that was lost, does not make other documents of them.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from .core.errors import ConfigurationError


def read_home_id(root: Path) -> str:
    """The home's id, made on the first call.

    Raises:
        ConfigurationError: it is not there, and can't be kept there.
    """
    file = root / ".jupyter" / "rtc_home_id"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # Of two servers that start at once, one is the first.
        with suppress(FileExistsError), open(file, "x") as new:
            new.write(uuid4().hex + "\n")
        return file.read_text().strip() or _wait_for(file)
    except OSError as error:
        raise ConfigurationError(f"The home's id can't be kept in {file}: {error.strerror}.") from None


def _wait_for(file: Path) -> str:
    """Another server has made the file, and is about to write it."""
    time.sleep(0.5)
    if not (known := file.read_text().strip()):
        raise ConfigurationError(f"{file} is empty: remove it, and start the server again.")
    return known
