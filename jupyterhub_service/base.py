"""What all handlers share: who asks, JSON in and out, and errors as HTTP. Handlers themselves have no try/except."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from types import TracebackType
from typing import Any
from uuid import uuid4

from jupyterhub.services.auth import HubOAuth, HubOAuthenticated
from tornado.web import HTTPError, RequestHandler

from jupyter_rtc_amprenta.core.errors import (
    DatabaseUnavailable,
    DocumentLeased,
    DocumentNotFound,
    DocumentTooLarge,
    EncryptionError,
    GenerationChanged,
    HistoryCompacted,
    SchemaMismatch,
    VersionNotFound,
)
from jupyter_rtc_amprenta.core.queries_record import Actor

from .audit import Refusals
from .auth import Authenticator, Identity
from .errors import BadRequest, NotAuthenticated, Refused, TooLarge, TooMany
from .limits import Count, RequestLimits
from .watch import DatabaseWatch

log = logging.getLogger(__name__)

_RETRY_AFTER_SECONDS = 5
# The largest request body: no body of this API comes near it.
MAX_BODY_BYTES = 2**20
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PREFLIGHT_SECONDS = 600
_ASKED_BY_PAGES = "Authorization, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID, X-Request-ID"
_TOLD_TO_PAGES = "ETag, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After, X-Request-ID"
# Errors of `core` that say something about the request or the moment, rather than about a fault of ours.
_KNOWN: dict[type, tuple[int, str]] = {
    DatabaseUnavailable: (503, "database_unavailable"),
    SchemaMismatch: (503, "schema_mismatch"),
    EncryptionError: (503, "key_missing"),
    DocumentNotFound: (404, "not_found"),
    VersionNotFound: (404, "version_not_found"),
    DocumentLeased: (409, "document_leased"),
    DocumentTooLarge: (409, "document_too_large"),
    GenerationChanged: (409, "generation_changed"),
    HistoryCompacted: (409, "version_unreadable"),
}


@dataclass(frozen=True)
class Context:
    """What every handler is given."""

    hub_auth: HubOAuth
    authenticator: Authenticator
    watch: DatabaseWatch
    limits: RequestLimits
    refusals: Refusals


def error_answer(error: BaseException | None, status: int) -> tuple[int, str, str]:
    """What the client is told of an error.

    Args:
        error: what was raised, if anything was.
        status: what tornado would answer.

    Returns:
        (HTTP status, code, detail); never anything of a fault's inside.
    """
    if isinstance(error, Refused):
        return error.status, error.code, error.detail
    if (known := _KNOWN.get(type(error))) is not None:
        return *known, str(error)
    known_status = HTTPStatus(status) if status in set(HTTPStatus) else HTTPStatus.INTERNAL_SERVER_ERROR
    return status, known_status.name.lower(), known_status.phrase


class BaseHandler(HubOAuthenticated, RequestHandler):
    """Answers in JSON, and maps errors to HTTP."""

    context: Context
    refusal_code = ""

    def initialize(self, context: Context, **more: Any) -> None:
        """Take what the application was wired with."""
        self.context = context
        self.hub_auth = context.hub_auth
        for name, value in more.items():
            setattr(self, name, value)

    def get_current_user(self) -> dict[str, Any] | None:
        """The Hub's answer, if it was asked; the inherited way would block the loop."""
        return getattr(self, "_cached_hub_user", None)

    @cached_property
    def request_id(self) -> str:
        """What this request is called, here and in the logs: as its client calls it, or else a random name."""
        given = self.request.headers.get("X-Request-ID", "")
        return given if _REQUEST_ID.fullmatch(given) else uuid4().hex

    @property
    def allowed_origin(self) -> str:
        """The origin of the page that asks, where the operator allows it; else ""."""
        origin = self.request.headers.get("Origin", "")
        return origin if origin in self.application.settings.get("cors_origins", ()) else ""

    def set_default_headers(self) -> None:
        """Nothing here may be kept by a cache, and only pages that the operator knows may read it elsewhere."""
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("X-Request-ID", self.request_id)
        self.clear_header("Server")
        if self.allowed_origin:
            # Without Access-Control-Allow-Credentials: such pages come with a token, never with the Hub's cookie.
            self.set_header("Access-Control-Allow-Origin", self.allowed_origin)
            self.set_header("Access-Control-Expose-Headers", _TOLD_TO_PAGES)
        if self.application.settings.get("cors_origins"):
            self.set_header("Vary", "Origin")

    def send(self, body: Any, status: int = 200) -> None:
        """Answer with JSON. What was read may be kept by its reader alone, who asks whether it still holds (ETag)."""
        self.set_status(status)
        if status == 200 and self.request.method == "GET":
            self.set_header("Cache-Control", "private, no-cache")
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(json.dumps(body, ensure_ascii=False))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer an error with `{"detail", "code"}`."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        status, code, detail = error_answer(error, status_code)
        self.refusal_code = code
        if status == 401:
            self.set_header("WWW-Authenticate", 'Bearer realm="Amprenta RTC"')
        if status == 405:
            self.set_header("Allow", ", ".join(self.methods()))
        if status == 503:
            self.set_header("Retry-After", str(_RETRY_AFTER_SECONDS))
        if isinstance(error, DatabaseUnavailable):
            self.context.watch.look_now()
        self.send({"detail": detail, "code": code}, status)

    @classmethod
    def methods(cls) -> list[str]:
        """The methods that this handler has."""
        names = (name for name in cls.SUPPORTED_METHODS if name != "OPTIONS")
        return [name for name in names if getattr(cls, name.lower()) is not getattr(RequestHandler, name.lower())]

    def log_exception(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """A trace is for faults of ours alone; what was refused is in the access log."""
        if not isinstance(error, HTTPError) and error_answer(error, 500)[0] == 500:
            log.error("%s %s failed", self.request.method, self.request.path, exc_info=(kind, error, trace))


class NotFoundHandler(BaseHandler):
    """Paths that there are not."""

    def prepare(self) -> None:
        """Refuse, whatever the method."""
        raise HTTPError(404)


class ApiHandler(BaseHandler):
    """A request of somebody known, while the database answers."""

    identity: Identity

    async def prepare(self) -> None:
        """Find out who asks, and whether not too often.

        Raises:
            Refused, DatabaseError: see `Authenticator.identify` and `DatabaseWatch.require`.
        """
        if self.request.method == "OPTIONS" and self.allowed_origin:
            return
        # A method that there is not gets its 405 before anybody is asked for a token.
        if self.request.method not in self.methods():
            raise HTTPError(405)
        if len(self.request.body) > MAX_BODY_BYTES:
            raise TooLarge("body_too_large", f"The request's body may have {MAX_BODY_BYTES} bytes.")
        self.identity = await self._identify()
        self._admit(self.context.limits.take(self.identity.server or self.identity.username))
        self.context.watch.require()

    async def _identify(self) -> Identity:
        """Who asks; guesses are counted by the address that they come from."""
        guesses = f"guesses from {self.request.remote_ip}"
        if not self.context.limits.look(guesses).allowed:
            self._admit(self.context.limits.look(guesses))
        try:
            return await self.context.authenticator.identify(self)
        except NotAuthenticated:
            self.context.limits.take(guesses)
            raise

    def _admit(self, count: Count) -> None:
        self._count = count
        if not count.allowed:
            limit = self.context.limits.per_minute
            raise TooMany("too_many_requests", f"{limit} requests a minute are allowed; try again later.")
        self._tell_limits()

    def _tell_limits(self) -> None:
        count, limit = getattr(self, "_count", None), self.context.limits.per_minute
        if count is None or not limit:
            return
        self.set_header("RateLimit-Limit", str(limit))
        self.set_header("RateLimit-Remaining", str(count.remaining))
        self.set_header("RateLimit-Reset", str(count.reset))
        if not count.allowed:
            self.set_header("Retry-After", str(count.reset))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Tell the limits too: an error has lost the headers that were set before it."""
        self._tell_limits()
        super().write_error(status_code, **kwargs)

    def on_finish(self) -> None:
        """Whoever was refused for who they are is in the audit, and so is whoever asked too often."""
        if self.get_status() in (401, 403, 429):
            identity = getattr(self, "identity", None)
            actor = identity.actor if identity else Actor("", self.request.remote_ip or "")
            document_id = self.path_kwargs.get("document_id", "")
            self.context.refusals.note(
                actor, document_id, self.request.method or "", self.request.path[:500], self.refusal_code
            )

    def options(self, *_: str, **__: str) -> None:
        """Tell a page of an allowed origin what it may ask."""
        self.set_header("Access-Control-Allow-Methods", ", ".join(self.methods()))
        self.set_header("Access-Control-Allow-Headers", _ASKED_BY_PAGES)
        self.set_header("Access-Control-Max-Age", str(_PREFLIGHT_SECONDS))
        self.set_status(204)

    def optional_body(self) -> dict[str, Any]:
        """The request's body, where one that is left out says nothing.

        Raises:
            BadRequest: it is not a JSON object.
        """
        return self.json_body() if self.request.body else {}

    def json_body(self) -> dict[str, Any]:
        """The request's body.

        Raises:
            BadRequest: it is not a JSON object.
        """
        try:
            body = json.loads(self.request.body)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise BadRequest("invalid_json", "The request's body must be a JSON object.")
        return body
