"""Every environment variable: name, default, meaning. Parsed here and nowhere else.

`read()` takes a mapping (`os.environ` by default) and gives one frozen `Settings`. A value that can't be
understood raises `ConfigurationError` with the variable's name and what it should look like.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from . import volumes
from .errors import ConfigurationError

_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+")


def _text(value: str) -> str:
    return value.strip()


def _count(value: str) -> int:
    number = int(value)
    if number < 0:
        raise ValueError("must be 0 or more")
    return number


def _port(value: str) -> int:
    number = int(value)
    if not 0 < number < 65536:
        raise ValueError("must be a port, 1 to 65535")
    return number


def _seconds(value: str) -> float:
    number = float(value)
    if not 0 < number < float("inf"):
        raise ValueError("must be a positive number of seconds")
    return number


def _flag(value: str) -> bool:
    try:
        return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[value.lower()]
    except KeyError:
        raise ValueError("must be true or false") from None


def _websocket_url(value: str) -> str:
    if not value.startswith(("ws://", "wss://")):
        raise ValueError("must start with ws:// or wss://")
    return value.rstrip("/")


def _http_url(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError("must start with http:// or https://")
    return value.rstrip("/")


def _http_urls(value: str) -> str:
    urls = value.replace(",", " ").split()
    if not all(url.startswith(("http://", "https://")) for url in urls):
        raise ValueError("must be URLs such as https://portal.example.org/rtc, with commas between them")
    return " ".join(urls)


def _origins(value: str) -> str:
    origins = value.replace(",", " ").split()
    if not all(_ORIGIN.fullmatch(origin) for origin in origins):
        raise ValueError("must be origins such as https://portal.example.org, with commas between them")
    return " ".join(origins)


@dataclass(frozen=True)
class Variable:
    """One environment variable.

    Attributes:
        name: as it stands in the environment.
        field: its name in `Settings`, and as a trait of the applications.
        default: the value when it is not set.
        help: one sentence for the documentation.
        parse: from text to the value; raises ValueError with what it should be.
    """

    name: str
    field: str
    default: Any
    help: str
    parse: Callable[[str], Any] = _text


VARIABLES: tuple[Variable, ...] = (
    Variable(
        "RTC_DATABASE_URL",
        "database_url",
        "",
        "PostgreSQL, in libpq's or SQLAlchemy's form; wins over PG* and POSTGRES_*. On a user's server it chooses "
        "the direct mode.",
    ),
    Variable(
        "JUPYTER_COLLABORATION_YJS_URL",
        "collaboration_yjs_url",
        "",
        "Where users' servers reach the Y.js server; set by the image or by configure(c). Chooses the linked mode.",
        _websocket_url,
    ),
    Variable(
        "YJS_SERVER_URL",
        "yjs_server_url",
        "ws://yjs-server:1234",
        "The Y.js server's URL as clients are told it (connection_url).",
        _websocket_url,
    ),
    Variable("YJS_SERVER_HOST", "yjs_server_host", "0.0.0.0", "The address the Y.js server binds to."),
    Variable("YJS_SERVER_PORT", "yjs_server_port", 1234, "The port the Y.js server listens on.", _port),
    Variable(
        "RTC_YJS_IN_SERVICE",
        "yjs_in_service",
        True,
        "Whether the Hub service runs the Y.js server in its own process (small hubs, the demo).",
        _flag,
    ),
    Variable(
        "RTC_API_URL",
        "rtc_api_url",
        "",
        "Where users' servers reach the Hub service, such as http://hub:8000/services/rtc; wins over API_URL.",
        _http_url,
    ),
    Variable(
        "API_URL",
        "api_url",
        "",
        "The platform's API, under which /api/v1/collaboration is found where RTC_API_URL is not set.",
        _http_url,
    ),
    Variable(
        "RTC_HUB_URL",
        "hub_url",
        "",
        "The Hub as browsers see it, such as https://hub.example.org; without it, links are relative.",
        _http_url,
    ),
    Variable(
        "RTC_PAGE_URL",
        "page_url",
        "",
        "The collaboration page as browsers see it, such as /services/rtc/, for the link in JupyterLab; set by "
        "configure(c).",
    ),
    Variable(
        "REDIS_URL",
        "redis_url",
        "",
        "Redis, such as redis://redis:6379/0, which carries edits between Y.js servers before they are committed; "
        "without it they follow each other by PostgreSQL's NOTIFY.",
    ),
    Variable(
        "RTC_SIGNING_KEY",
        "signing_key",
        "",
        "Ed25519 private key (PEM) that signs document tokens; without it one is kept in the database.",
    ),
    Variable(
        "RTC_LOCAL_STORE",
        "local_store",
        "",
        "The linked rooms' local store (SQLite file); default: .jupyter/rtc_rooms.db under the server's root folder.",
    ),
    Variable(
        "RTC_SHARED_FOLDER",
        "shared_folder",
        "Shared with me",
        "The folder, under the server's root, into which joined documents are put.",
    ),
    Variable(
        "RTC_SHARED_VOLUMES",
        "shared_volumes",
        "",
        "Volumes that several users' servers have mounted, as JSON: name to the path there and the Hub's groups that "
        'may enter, such as {"team": {"path": "/srv/shared/team", "groups": ["team"]}}.',
        volumes.checked,
    ),
    Variable(
        "RTC_ONE_SERVER_PER_HOME",
        "one_server_per_home",
        True,
        "Whether a home has one server at a time, which saves without asking; not where users have named servers, "
        "as configure(c) knows.",
        _flag,
    ),
    Variable(
        "RTC_MAX_MESSAGE_BYTES",
        "max_message_bytes",
        64 * 2**20,
        "The largest WebSocket message, in bytes; 0: none.",
        _count,
    ),
    Variable(
        "RTC_MAX_DOCUMENT_BYTES",
        "max_document_bytes",
        100 * 2**20,
        "The largest document, in bytes of its Yjs state; 0: none.",
        _count,
    ),
    Variable(
        "RTC_MAX_CONNECTIONS_PER_USER",
        "max_connections_per_user",
        100,
        "Open sockets of one user at one Y.js server; 0: none.",
        _count,
    ),
    Variable(
        "RTC_MAX_CONNECTIONS_PER_DOCUMENT",
        "max_connections_per_document",
        500,
        "Open sockets on one document at one Y.js server; 0: none.",
        _count,
    ),
    Variable(
        "RTC_MAX_MESSAGES_PER_SECOND",
        "max_messages_per_second",
        200,
        "Messages a second of one connection, with bursts of ten times that; 0: none.",
        _count,
    ),
    Variable(
        "RTC_MAX_PENDING_BYTES",
        "max_pending_bytes",
        256 * 2**20,
        "Edits that may wait for the database, in bytes, before no more are taken; 0: none.",
        _count,
    ),
    Variable(
        "RTC_ENCRYPTION_KEYS",
        "encryption_keys",
        "",
        "Keys that documents are encrypted with in PostgreSQL, as id:base64 of 32 bytes, with commas between; the "
        "first encrypts, all decrypt. Only for the Y.js server, the service and the command line (and direct mode).",
    ),
    Variable(
        "RTC_HISTORY_SECONDS",
        "history_seconds",
        7 * 86400.0,
        "How long compaction keeps a document's single updates, which the timeline shows, in seconds.",
        _seconds,
    ),
    Variable(
        "RTC_HISTORY_UPDATES",
        "history_updates",
        10_000,
        "How many of its newest updates compaction keeps of a document, at most.",
        _count,
    ),
    Variable(
        "RTC_VERSION_SECONDS",
        "version_seconds",
        3600.0,
        "How long a document is edited until a version of it is made automatically, in seconds.",
        _seconds,
    ),
    Variable(
        "RTC_AUTOMATIC_VERSIONS",
        "automatic_versions",
        24,
        "How many automatic versions are kept of a document; named ones stay. 0: none are made.",
        _count,
    ),
    Variable(
        "RTC_LEASE_SECONDS",
        "lease_seconds",
        30.0,
        "Direct mode: how long a document stays closed to other servers after its server has died, in seconds. Where "
        "several servers have one file: how long none of the others saves it then.",
        _seconds,
    ),
    Variable(
        "RTC_SPOOL_FOLDER",
        "spool_folder",
        "",
        "A folder in which edits that wait for the database are kept on the disk too, to outlive the process.",
    ),
    Variable(
        "RTC_MAX_REQUESTS_PER_MINUTE",
        "max_requests_per_minute",
        600,
        "Requests a minute of one user, or of one user's server, to one process of the service; 0: none.",
        _count,
    ),
    Variable(
        "RTC_CORS_ORIGINS",
        "cors_origins",
        "",
        "Web pages of other origins that may ask the API with a token, such as https://portal.example.org.",
        _origins,
    ),
    Variable(
        "RTC_SEARCH_USERS",
        "search_users",
        False,
        "Whether whoever invites may search all of the Hub's users; configure(c) then asks for the scope list:users. "
        "Else those are suggested with whom one works already.",
        _flag,
    ),
    Variable(
        "RTC_INVITE_SECONDS",
        "invite_seconds",
        86400.0,
        "How long an invite can be accepted, in seconds.",
        _seconds,
    ),
    Variable(
        "RTC_LONGEST_INVITE_SECONDS",
        "longest_invite_seconds",
        30 * 86400.0,
        "The longest time that whoever invites may choose, for an invite or a link, in seconds.",
        _seconds,
    ),
    Variable(
        "RTC_JWT_ISSUERS",
        "jwt_issuers",
        "",
        "Who else makes JWTs for the API: a JSON list of objects with issuer, audience, algorithms, jwks_url or "
        "secret, and username_claim.",
    ),
    Variable(
        "RTC_WEBHOOK_URLS",
        "webhook_urls",
        "",
        "Who is told by POST of invites, answers, and who comes and goes: URLs, with commas between them.",
        _http_urls,
    ),
    Variable(
        "RTC_WEBHOOK_SECRET",
        "webhook_secret",
        "",
        "Signs what webhooks are sent (HMAC-SHA256, X-RTC-Signature); required with RTC_WEBHOOK_URLS.",
    ),
    Variable(
        "RTC_AUDIT_DAYS",
        "audit_days",
        365,
        "How long the audit is kept, in days; 0: for ever.",
        _count,
    ),
    Variable(
        "RTC_ACTIVITY_DAYS",
        "activity_days",
        365,
        "How long the activity of sessions is kept, in days; 0: for ever.",
        _count,
    ),
    Variable(
        "RTC_TOKEN_SECONDS",
        "token_seconds",
        600.0,
        "How long a token of the service is valid, in seconds.",
        _seconds,
    ),
    Variable(
        "RTC_HEARTBEAT_SECONDS",
        "heartbeat_seconds",
        15.0,
        "How often a server reports its presence, in seconds; after three missed reports it is offline.",
        _seconds,
    ),
    Variable(
        "RTC_OPEN_TIMEOUT",
        "open_timeout",
        5.0,
        "How long opening a document waits for the Y.js server before it goes on offline, in seconds.",
        _seconds,
    ),
)


@dataclass(frozen=True)
class Settings:
    """The parsed values of `VARIABLES`, by field name."""

    database_url: str
    collaboration_yjs_url: str
    yjs_server_url: str
    yjs_server_host: str
    yjs_server_port: int
    yjs_in_service: bool
    rtc_api_url: str
    api_url: str
    hub_url: str
    page_url: str
    redis_url: str
    signing_key: str
    local_store: str
    shared_folder: str
    shared_volumes: str
    one_server_per_home: bool
    max_message_bytes: int
    max_document_bytes: int
    max_connections_per_user: int
    max_connections_per_document: int
    max_messages_per_second: int
    max_pending_bytes: int
    encryption_keys: str
    history_seconds: float
    history_updates: int
    version_seconds: float
    automatic_versions: int
    lease_seconds: float
    spool_folder: str
    max_requests_per_minute: int
    cors_origins: str
    search_users: bool
    invite_seconds: float
    longest_invite_seconds: float
    jwt_issuers: str
    webhook_urls: str
    webhook_secret: str
    audit_days: int
    activity_days: int
    token_seconds: float
    heartbeat_seconds: float
    open_timeout: float

    @property
    def service_url(self) -> str:
        """Where a user's server finds the Hub service, or ""."""
        return self.rtc_api_url or self.api_url


def read(environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Parse the environment.

    Args:
        environ: the variables; `os.environ` where none is given.
        overrides: fields that are already known (from traits or options); they win.

    Raises:
        ConfigurationError: a value can't be understood.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    for variable in VARIABLES:
        text = environ.get(variable.name, "").strip()
        try:
            values[variable.field] = variable.parse(text) if text else variable.default
        except ValueError as error:
            raise ConfigurationError(f"{variable.name}={text!r}: {error}. {variable.help}") from None
    values.update(overrides)
    return Settings(**values)


# libpq reads PG*; the reference's compose file knows POSTGRES_*. Either way the names are these.
_PARTS = {
    "host": ("PGHOST", "POSTGRES_HOST", "localhost"),
    "port": ("PGPORT", "POSTGRES_PORT", "5432"),
    "database": ("PGDATABASE", "POSTGRES_DB", "amprenta"),
    "user": ("PGUSER", "POSTGRES_USER", "postgres"),
    "password": ("PGPASSWORD", "POSTGRES_PASSWORD", ""),
}
_HOST_NAME = re.compile(r"[\w.-]+")
_PORTS = re.compile(r"\d+(,\d+)*")


def service_database_url(environ: Mapping[str, str] | None = None) -> str:
    """The database of the Y.js server, the service and the command line: RTC_DATABASE_URL, else PG*, else POSTGRES_*.

    Never used by the server extension: a researcher may have PG* set for a database of their own.

    Raises:
        ConfigurationError: none of them is set.
    """
    environ = os.environ if environ is None else environ
    if url := environ.get("RTC_DATABASE_URL", "").strip():
        return url
    if not any(environ.get(name) for names in _PARTS.values() for name in names[:2]):
        raise ConfigurationError(
            "No database is configured. Set RTC_DATABASE_URL, such as postgresql://user:password@host:5432/amprenta, "
            "or PGHOST, PGPORT, PGDATABASE, PGUSER and PGPASSWORD."
        )
    part = {key: environ.get(a) or environ.get(b) or default for key, (a, b, default) in _PARTS.items()}
    if not _PORTS.fullmatch(part["port"]):
        raise ConfigurationError(f"PGPORT (or POSTGRES_PORT) must be a port, not {part['port']!r}.")
    credentials = quote(part["user"], safe="") + (":" + quote(part["password"], safe="") if part["password"] else "")
    database = quote(part["database"], safe="")
    if _HOST_NAME.fullmatch(part["host"]) and "," not in part["port"]:
        return f"postgresql://{credentials}@{part['host']}:{part['port']}/{database}"
    # A socket's folder, an IPv6 address, or several hosts, each with its port.
    port = part["port"] if "," in part["port"] else ",".join([part["port"]] * len(part["host"].split(",")))
    return f"postgresql://{credentials}@/{database}?host={quote(part['host'])}&port={port}"
