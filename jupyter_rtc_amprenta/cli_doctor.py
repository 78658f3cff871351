"""The subcommand `doctor` of `jupyter-rtc`."""

from __future__ import annotations

import argparse
import os
import sys

from .cli_options import add_database_url

Commands = argparse._SubParsersAction  # argparse has no public name for it


def add_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add it to the command line."""
    parser = commands.add_parser(
        "doctor",
        help="find out what is wrong with a deployment, and what to do about it",
        description="Checks variables, database, encryption, Y.js server, service, proxy, extension and clocks, from "
        "where it runs: with the service's or the Y.js server's environment, in a terminal of a user's server, or on "
        "an operator's machine. Nothing is changed, and no secret is shown. Ends with 1 if a check failed.",
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument(
        "--hub-url", default="", metavar="URL", help="the Hub as browsers see it (default: $RTC_HUB_URL)"
    )
    parser.add_argument("--document", default="", metavar="ID", help="also: whose is this document, and is it there?")
    parser.add_argument("--user", default="", metavar="NAME", help="also: may this user enter that document?")
    add_database_url(parser)
    parser.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    from .doctor.check import Check, Scene
    from .doctor.report import as_json, as_text, examine, summary

    scene = Scene(
        given_database_url=options.database_url or "",
        given_hub_url=options.hub_url,
        document=options.document,
        user=options.user,
    )
    checks: list[Check] = []
    if not options.json:
        print(f"Amprenta RTC, seen from {scene.place}")
    for check in examine(scene):
        if not options.json:
            terminal = sys.stdout.isatty()
            coloured = terminal and not os.environ.get("NO_COLOR")
            print(as_text(check, checks[-1] if checks else None, terminal, coloured), flush=True)
        checks.append(check)
    print(as_json(checks) if options.json else f"\n{summary(checks)}")
    return 1 if any(check.ok is False for check in checks) else 0
