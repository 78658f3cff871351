"""The environment: what is set, can be understood, and does not contradict itself."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from urllib.parse import urlsplit

from ..core.errors import ConfigurationError
from ..core.settings import VARIABLES, service_database_url
from .check import Check, Place, Scene

_NAMES = [variable.name for variable in VARIABLES]
# What lets its holder read or sign for everybody: never for code that users run.
_NOT_FOR_USERS = ("RTC_ENCRYPTION_KEYS", "RTC_SIGNING_KEY", "RTC_WEBHOOK_SECRET", "RTC_JWT_ISSUERS")


def checks(scene: Scene) -> Iterator[Check]:
    """The checks of this area."""
    yield _known(scene)
    yield _values(scene)
    yield _set(scene)
    yield _consistent(scene)
    yield _secrets(scene)


def _known(scene: Scene) -> Check:
    unknown = sorted(name for name in scene.environ if name.startswith("RTC_") and name not in _NAMES)
    if not unknown:
        return Check("variables.known", True, "Every RTC_ variable is one that is read.")
    meant = {name: difflib.get_close_matches(name, _NAMES, 1) for name in unknown}
    advice = "; ".join(
        f"rename {name} to {found[0]}" if found else f"remove {name}" for name, found in meant.items()
    )
    return Check("variables.known", False, f"Nothing reads {', '.join(unknown)}.", f"Misspelt? {advice}.")


def _values(scene: Scene) -> Check:
    if not scene.faulty:
        return Check("variables.values", True, "Every value can be understood.")
    names = ", ".join(scene.faulty)
    advice = " ".join(f"{name} {meaning}" for name, meaning in scene.faulty.items())
    return Check("variables.values", False, f"Can't be understood: {names}.", advice)


def _set(scene: Scene) -> Check:
    name = "variables.set"
    if scene.place is not Place.SERVER:
        return _database_is_set(scene, name)
    chosen = scene.settings
    if not chosen.collaboration_yjs_url and not chosen.database_url:
        return Check(
            name, False, "Neither JUPYTER_COLLABORATION_YJS_URL nor RTC_DATABASE_URL is set: the extension is off.",
            "Call configure(c) at the end of jupyterhub_config.py, or set JUPYTER_COLLABORATION_YJS_URL in the "
            "spawner's environment; then restart this server.",
        )  # fmt: skip
    if chosen.collaboration_yjs_url and not chosen.service_url:
        return Check(
            name, False, "JUPYTER_COLLABORATION_YJS_URL is set, and RTC_API_URL is not.",
            "Set RTC_API_URL to where this server reaches the service, such as http://hub:10101; configure(c) does.",
        )  # fmt: skip
    return Check(name, True, "What a user's server needs is set.")


def _database_is_set(scene: Scene, name: str) -> Check:
    try:
        scene.given_database_url or service_database_url(scene.environ)
    except ConfigurationError as error:
        # Elsewhere it may be configured, and an operator's machine need not reach it.
        needed = None if scene.place is Place.OPERATOR else False
        return Check(name, needed, "No database is configured here.", str(error).partition(". ")[2])
    return Check(name, True, "A database is configured.")


def _consistent(scene: Scene) -> Check:
    found = list(_contradictions(scene))
    if not found:
        return Check("variables.consistent", True, "Nothing contradicts anything else.")
    details, advice = zip(*found, strict=True)
    return Check("variables.consistent", False, " ".join(details), " ".join(advice))


def _contradictions(scene: Scene) -> Iterator[tuple[str, str]]:
    chosen, environ = scene.settings, scene.environ
    if chosen.webhook_urls and not chosen.webhook_secret:
        yield "RTC_WEBHOOK_URLS is set, and RTC_WEBHOOK_SECRET is not.", "Set it: openssl rand -base64 32"
    if chosen.invite_seconds > chosen.longest_invite_seconds:
        yield "RTC_INVITE_SECONDS is over RTC_LONGEST_INVITE_SECONDS.", "Raise the one, or lower the other."
    if chosen.spool_folder and not os.access(chosen.spool_folder, os.W_OK | os.X_OK):
        yield (
            f"RTC_SPOOL_FOLDER={chosen.spool_folder} is no folder that can be written to here.",
            f"Make it, and give it to this user: mkdir -p {chosen.spool_folder}",
        )
    inside = scene.place is Place.SERVICE and chosen.yjs_in_service
    told = urlsplit(chosen.yjs_server_url).port
    if inside and environ.get("YJS_SERVER_URL", "").startswith("ws://") and told != chosen.yjs_server_port:
        yield (
            f"YJS_SERVER_URL names port {told}, and YJS_SERVER_PORT is {chosen.yjs_server_port}.",
            "Give both the same port.",
        )
    host = urlsplit(environ.get("RTC_DATABASE_URL", "")).hostname
    if scene.place is not Place.SERVER and host and environ.get("PGHOST", host) != host:
        detail = "RTC_DATABASE_URL and PGHOST name different servers; RTC_DATABASE_URL wins."
        yield detail, "Remove the one that is not meant."


def _secrets(scene: Scene) -> Check:
    name = "variables.secrets"
    if scene.place is not Place.SERVER:
        return Check(name, None, "Only a user's server must have none of them.")
    # In direct mode the server reads the database itself.
    names = (*_NOT_FOR_USERS, "RTC_DATABASE_URL") if scene.is_linked else _NOT_FOR_USERS[1:]
    found = [secret for secret in names if scene.environ.get(secret)]
    if not found:
        return Check(name, True, "This server has no secret of the deployment.")
    return Check(
        name, False, f"Code that users run can read {', '.join(found)}.",
        "Remove them from the spawner's environment and from the image, restart the servers, and change the secrets.",
    )  # fmt: skip
