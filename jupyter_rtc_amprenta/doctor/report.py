"""All checks, and what is shown of them."""

from __future__ import annotations

import json
import re
import shutil
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from types import ModuleType
from urllib.parse import unquote, urlsplit

from . import access, clocks, database, encryption, extension, proxy, service, variables, yjs
from .check import Check, Scene

AREAS: tuple[ModuleType, ...] = (variables, database, encryption, yjs, service, proxy, extension, clocks, access)
_SECRETS = (
    "RTC_ENCRYPTION_KEYS", "RTC_SIGNING_KEY", "RTC_WEBHOOK_SECRET", "RTC_JWT_ISSUERS",
    "PGPASSWORD", "POSTGRES_PASSWORD", "JUPYTERHUB_API_TOKEN",
)  # fmt: skip
_MARKS = {True: "ok", False: "FAIL", None: "-"}
_COLOURS = {True: "\033[32m", False: "\033[1;31m", None: "\033[2m"}
_PLAIN = "\033[0m"
_INDENT = " " * 22


def examine(scene: Scene) -> Iterator[Check]:
    """Make all checks."""
    secrets = _secrets(scene)
    for area in AREAS:
        for check in _made(area, scene):
            yield Check(check.name, check.ok, _without(check.detail, secrets), _without(check.advice, secrets))


def _made(area: ModuleType, scene: Scene) -> Iterator[Check]:
    try:
        yield from area.checks(scene)
    except Exception as error:  # a doctor that ends here would say nothing of the other areas
        name = area.__name__.rpartition(".")[2]
        detail = f"These checks failed by a fault of their own ({type(error).__name__})."
        yield Check(f"{name}.doctor", False, detail, "Open an issue with this line and the version.")


def _secrets(scene: Scene) -> list[str]:
    """What must not be shown: no check means to; what another program says, and is passed on, might."""
    found = [scene.environ.get(name, "") for name in _SECRETS]
    found += [key.partition(":")[2] for key in scene.environ.get("RTC_ENCRYPTION_KEYS", "").split(",")]
    urls = [scene.environ.get(name, "") for name in ("REDIS_URL", "RTC_DATABASE_URL")]
    for url in (*urls, scene.given_database_url):
        with suppress(ValueError):
            found.append(unquote(urlsplit(url).password or ""))
    # What is shorter is part of many words.
    return sorted({secret.strip() for secret in found if len(secret.strip()) > 3}, key=len, reverse=True)


def _without(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        # One of letters alone is a word: within another word it is chance, and to mask it would tell it.
        text = re.sub(rf"(?<!\w){secret}(?!\w)", "***", text) if secret.isalpha() else text.replace(secret, "***")
    return text


def as_json(checks: list[Check]) -> str:
    """For programs."""
    return json.dumps({"checks": [vars(check) for check in checks]}, indent=2)


def as_text(check: Check, before: Check | None, on_terminal: bool, coloured: bool) -> str:
    """For people: a check, under its area's name where it is the first of it."""
    area, _, what = check.name.partition(".")
    lines = [] if before is not None and before.name.startswith(f"{area}.") else ["", area]
    mark = f"{_MARKS[check.ok]:4}"
    mark = _COLOURS[check.ok] + mark + _PLAIN if coloured else mark
    lines.append(f"  {mark}  {what:<12}  {_wrapped(check.detail, on_terminal, '')}")
    if check.advice and check.ok is not True:
        lines.append(f"{_INDENT}-> {_wrapped(check.advice, on_terminal, '   ')}")
    return "\n".join(lines)


def _wrapped(text: str, on_terminal: bool, more: str) -> str:
    """In the terminal's width; a file has its lines whole."""
    width = max(shutil.get_terminal_size().columns - len(_INDENT + more), 40)
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) if on_terminal else [text]
    return f"\n{_INDENT}{more}".join(lines)


def summary(checks: list[Check]) -> str:
    """How many are how."""
    count = [sum(1 for check in checks if check.ok is ok) for ok in (True, False, None)]
    return f"{count[0]} ok, {count[1]} failed, {count[2]} can't be told from here."
