"""What several subcommands of `jupyter-rtc` share."""

from __future__ import annotations

import argparse
import importlib.util
import sys


class UsageError(Exception):
    """The command can't run as it was given; its text is shown as it is."""


def add_database_url(parser: argparse.ArgumentParser) -> None:
    """The option that names the database."""
    parser.add_argument(
        "--database-url", help="PostgreSQL (default: $RTC_DATABASE_URL, else $PGHOST, $PGDATABASE …)"
    )


def database_url(options: argparse.Namespace) -> str:
    """The database that was named, or that the environment names.

    Raises:
        ConfigurationError: there is none.
    """
    from jupyter_rtc_amprenta.core.settings import service_database_url

    return options.database_url or service_database_url()


def require(extra: str, *modules: str) -> None:
    """Says which extra to install, if one of its modules is missing.

    Raises:
        UsageError: a module is missing.
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise UsageError(
            f"This needs {', '.join(missing)}, not installed here: pip install 'jupyter-rtc-amprenta[{extra}]'"
        )


class Progress:
    """A bar on the terminal; nothing where the output goes elsewhere.

    Args:
        total: how many steps there are.
    """

    _WIDTH = 30

    def __init__(self, total: int) -> None:
        self._total = max(total, 1)
        self._done = 0
        self._shown = sys.stderr.isatty()

    def advance(self, steps: int = 1) -> None:
        """So many more steps are done."""
        self.reach(self._done + steps)

    def reach(self, done: int) -> None:
        """So many steps are done by now."""
        self._done = min(done, self._total)
        if self._shown:
            filled = self._WIDTH * self._done // self._total
            bar = "#" * filled + "." * (self._WIDTH - filled)
            end = "\n" if self._done == self._total else ""
            print(f"\r[{bar}] {self._done}/{self._total}", end=end, file=sys.stderr, flush=True)
