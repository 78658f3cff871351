"""The subcommands of `jupyter-rtc` on the log: compact, rotate-keys, history, export, restore-version."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .cli_options import Progress, UsageError, add_database_url, database_url, require

if TYPE_CHECKING:
    from .core.documentlog import DocumentLog

Commands = argparse._SubParsersAction  # argparse has no public name for it
# Re-encryption locks a document's row for so many rows at a time.
_ROTATE_ROWS = 500


def add_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add them to the command line."""
    _add_compact(commands)
    _add_rotate_keys(commands)
    _add_history(commands)
    _add_export(commands)
    _add_restore_version(commands)


def _with_log(options: argparse.Namespace, command: Callable[[DocumentLog], Awaitable[None]]) -> None:
    """Run a command over the log of the environment's database and keys."""
    require("service", "alembic")
    from .core import settings
    from .core.database import Database
    from .core.documentlog import DocumentLog
    from .core.logpolicy import LogPolicy
    from .core.migrate import require_current

    async def run() -> None:
        database = Database(database_url(options), threads=1)
        try:
            await database.run(require_current)
            log = DocumentLog(database, policy=LogPolicy.of(settings.read(spool_folder="")))
            await command(log)
            await log.stop()
        finally:
            database.close()

    asyncio.run(run())


# --- compact ---


def _add_compact(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "compact",
        help="merge the old updates of documents",
        description="Merges updates that are older than the retained history (RTC_HISTORY_SECONDS, "
        "RTC_HISTORY_UPDATES), on a live system. Documents that are edited are compacted without it.",
    )
    parser.add_argument("--document", metavar="ID", help="one document (default: all)")
    parser.add_argument("--dry-run", action="store_true", help="tell what would be done, and do nothing")
    add_database_url(parser)
    parser.set_defaults(run=lambda options: _with_log(options, lambda log: _compact(options, log)))


async def _compact(options: argparse.Namespace, log: DocumentLog) -> None:
    from .core import queries_compaction
    from .core.errors import ContentError, DocumentNotFound, EncryptionError

    documents = [options.document] if options.document else await log.database.run(queries_compaction.document_ids)
    progress = Progress(len(documents))
    before = after = failed = 0
    for document_id in documents:
        try:
            report = await log.compact(document_id, dry_run=options.dry_run)
        except (ContentError, EncryptionError, DocumentNotFound) as error:
            print(f"{document_id}: {error}", file=sys.stderr)
            failed += 1
        else:
            before, after = before + report.before.size, after + report.after.size
            if report.changed:
                updates = f"{report.before.updates} -> {report.after.updates} updates"
                print(f"{document_id}: {updates}, {report.before.size} -> {report.after.size} bytes")
        progress.advance()
    tense = "would be" if options.dry_run else "are"
    print(f"{len(documents) - failed} documents: {before} bytes {tense} {after}.")
    if failed:
        raise UsageError(f"{failed} documents could not be compacted; see above.")


# --- rotate-keys ---


def _add_rotate_keys(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "rotate-keys",
        help="encrypt all documents with the first of RTC_ENCRYPTION_KEYS",
        description="Encrypts what is plain or encrypted with another key, on a live system. First give every "
        "process the new key in front of the old ones, then run this, then take the old ones away.",
    )
    add_database_url(parser)
    parser.set_defaults(run=lambda options: _with_log(options, _rotate_keys))


async def _rotate_keys(log: DocumentLog) -> None:
    from .core import queries_compaction

    keys, run = log.policy.keys, log.database.run
    if not keys:
        raise UsageError("RTC_ENCRYPTION_KEYS is not set: there is no key to encrypt with.")
    total = await run(queries_compaction.rows_not_encrypted_with, keys.key_id)
    progress = Progress(total)
    done = 0
    for document_id in await run(queries_compaction.document_ids):
        while changed := await run(queries_compaction.encrypt_anew, document_id, keys, _ROTATE_ROWS):
            done += changed
            progress.advance(changed)
    print(f"{done} updates and snapshots are encrypted with key {keys.key_id} now.")


# --- versions ---


def _add_history(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("history", help="list the versions of a document, the newest first")
    parser.add_argument("document", help="the document's id")
    parser.add_argument("--limit", type=int, default=50, help="at most so many (%(default)s)")
    add_database_url(parser)
    parser.set_defaults(run=lambda options: _with_log(options, lambda log: _history(options, log)))


async def _history(options: argparse.Namespace, log: DocumentLog) -> None:
    from .core.versions import Versions

    present = await log.read(options.document)
    print(f"{'now':36}  position {present.seq}")
    for version in await Versions(log).list(options.document, options.limit):
        when = f"{version.created_at:%Y-%m-%d %H:%M:%S} UTC"
        print(
            f"{version.version_id}  position {version.seq}  {when}  "
            f"{version.created_by or '-'}  {version.label or '(automatic)'}"
        )


def _add_export(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("export", help="write what a document holds to a file")
    parser.add_argument("document", help="the document's id")
    parser.add_argument("--version", metavar="ID", help="one of `jupyter-rtc history` (default: the present)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: standard output")
    add_database_url(parser)
    parser.set_defaults(run=lambda options: _with_log(options, lambda log: _export(options, log)))


async def _export(options: argparse.Namespace, log: DocumentLog) -> None:
    from .core.versions import Versions

    content = await Versions(log).content(options.document, options.version)
    if options.output is None:
        sys.stdout.write(content)
        return
    try:
        options.output.write_text(content, encoding="utf-8", newline="")
    except OSError as error:
        raise UsageError(f"{options.output} can't be written: {error.strerror}.") from None


def _add_restore_version(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "restore-version",
        help="turn a document into what it was at a version, by an edit like any other",
        description="Nothing is rewritten: what the document holds now becomes a version too.",
    )
    parser.add_argument("document", help="the document's id")
    parser.add_argument("version", help="one of `jupyter-rtc history`")
    parser.add_argument("--user", help="who is said to have done it")
    add_database_url(parser)
    parser.set_defaults(run=lambda options: _with_log(options, lambda log: _restore(options, log)))


async def _restore(options: argparse.Namespace, log: DocumentLog) -> None:
    from .core.versions import Versions

    seq = await Versions(log).restore(options.document, options.version, options.user)
    print(f"{options.document} is at position {seq}, with the content of version {options.version}.")
