"""The subcommands `backup` and `restore` of `jupyter-rtc`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .cli_options import Progress, add_database_url, database_url, require

if TYPE_CHECKING:
    from .core.backuprecords import Contents
    from .core.crypto import EncryptionKeys
    from .core.database import Database

Commands = argparse._SubParsersAction  # argparse has no public name for it


def add_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add them to the command line."""
    _add_backup(commands)
    _add_restore(commands)


def _keys() -> EncryptionKeys:
    from .core import settings
    from .core.crypto import EncryptionKeys

    return EncryptionKeys.parse(settings.read().encryption_keys)


@contextmanager
def _database(options: argparse.Namespace) -> Iterator[Database]:
    from .core.database import Database

    database = Database(database_url(options), threads=1)
    try:
        yield database
    finally:
        database.close()


def _shown() -> Callable[[int, int], None]:
    """A bar, which begins when it is known how many documents there are."""
    bars: list[Progress] = []

    def show(done: int, total: int) -> None:
        if not bars:
            bars.append(Progress(total))
        bars[0].reach(done)

    return show


# --- backup ---


def _add_backup(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "backup",
        help="write all documents, versions and people to one file, on a live system",
        description="Writes one picture of the database to a file, encrypted with the first of RTC_ENCRYPTION_KEYS, "
        "and reads it back. What was acknowledged before it begins is in it. Keep the keys elsewhere: without them "
        "nobody can read it. The key that signs tokens is not in it.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the file, which there must not be yet")
    parser.add_argument("--verify", action="store_true", help="write nothing: read a backup, and tell if it is whole")
    parser.add_argument(
        "--without", action="append", default=[], metavar="ID", help="leave out a document that can't be read"
    )
    add_database_url(parser)
    parser.set_defaults(run=_backup)


def _backup(options: argparse.Namespace) -> None:
    require("service", "alembic")
    from .core import backup

    keys = _keys()
    if options.verify:
        print(f"{options.file} is whole: {_told(backup.verify(options.file, keys, _shown()))}.")
        return
    with _database(options) as database:
        contents = backup.make(database, options.file, keys, options.without, _shown())
    print(f"{options.file} is written, and read back: {_told(contents)}.")


def _told(contents: Contents) -> str:
    key_id = contents.described["key_id"]
    sealed = f"encrypted with key {key_id}" if key_id else "NOT encrypted, since RTC_ENCRYPTION_KEYS was not set"
    parts = [
        f"{contents.rows[table]} {name}"
        for table, name in (("yjs_documents", "documents"), ("versions", "versions"), ("users", "users"))
    ]
    return f"{', '.join(parts)}, of {contents.described['created_at'][:19]}Z, {sealed}"


# --- restore ---


def _add_restore(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "restore",
        help="put a backup back, into an empty database or a running system",
        description="Reads all of the file first. Then each document is put back in one transaction, which is read "
        "back and held against the file before it ends. Whoever has a replaced document open is told to load it anew.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="what `jupyter-rtc backup` has written")
    present = parser.add_mutually_exclusive_group()
    present.add_argument("--replace", action="store_true", help="replace documents that are there already")
    present.add_argument("--only-missing", action="store_true", help="leave documents that are there as they are")
    parser.add_argument(
        "--document", action="append", default=[], metavar="ID", help="this document alone (several times: these)"
    )
    parser.add_argument("--dry-run", action="store_true", help="tell what would be done, and do nothing")
    add_database_url(parser)
    parser.set_defaults(run=_restore)


def _restore(options: argparse.Namespace) -> None:
    require("service", "alembic")
    from .core.restore import Choice, plan, restore

    keys, choice = _keys(), Choice(options.document, options.replace, options.only_missing)
    with _database(options) as database:
        planned = plan(database, options.file, keys, choice)
        print(f"{options.file} is whole: {_told(planned.contents)}.")
        replaced = len(planned.wanted & planned.present)
        count = f"{len(planned.wanted)} documents, {replaced} of them in place of what is there"
        if options.dry_run:
            print(f"It would restore {count}.")
            return
        for note in restore(database, options.file, keys, planned, _shown()):
            print(note)
    print(f"Restored and read back: {count}.")
