"""What all handlers share: who asks, JSON in and out, and errors as HTTP. Handlers themselves have no try/except."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any

from jupyterhub.services.auth import HubOAuth, HubOAuthenticated
from tornado.web import HTTPError, RequestHandler

from jupyter_rtc_amprenta.core.errors import (
    DatabaseUnavailable,
    DocumentNotFound,
    GenerationChanged,
    SchemaMismatch,
)

from .auth import Authenticator, Identity
from .errors import BadRequest, Refused
from .watch import DatabaseWatch

log = logging.getLogger(__name__)

_RETRY_AFTER_SECONDS = 5
# Errors of `core` that say something about the request or the moment, rather than about a fault of ours.
_KNOWN: dict[type, tuple[int, str]] = {
    DatabaseUnavailable: (503, "database_unavailable"),
    SchemaMismatch: (503, "schema_mismatch"),
    DocumentNotFound: (404, "not_found"),
    GenerationChanged: (409, "generation_changed"),
}


@dataclass(frozen=True)
class Context:
    """What every handler is given."""

    hub_auth: HubOAuth
    authenticator: Authenticator
    watch: DatabaseWatch


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

    def initialize(self, context: Context, **more: Any) -> None:
        """Take what the application was wired with."""
        self.context = context
        self.hub_auth = context.hub_auth
        for name, value in more.items():
            setattr(self, name, value)

    def get_current_user(self) -> dict[str, Any] | None:
        """The Hub's answer, if it was asked; the inherited way would block the loop."""
        return getattr(self, "_cached_hub_user", None)

    def set_default_headers(self) -> None:
        """Nothing here may be kept by a cache."""
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.clear_header("Server")

    def send(self, body: Any, status: int = 200) -> None:
        """Answer with JSON."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(json.dumps(body, ensure_ascii=False))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer an error with `{"detail", "code"}`."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        status, code, detail = error_answer(error, status_code)
        if status == 401:
            self.set_header("WWW-Authenticate", 'Bearer realm="Amprenta RTC"')
        if status == 503:
            self.set_header("Retry-After", str(_RETRY_AFTER_SECONDS))
        if isinstance(error, DatabaseUnavailable):
            self.context.watch.look_now()
        self.send({"detail": detail, "code": code}, status)

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
        """Find out who asks.

        Raises:
            Refused, DatabaseError: see `Authenticator.identify` and `DatabaseWatch.require`.
        """
        method = (self.request.method or "").lower()
        # A method that there is not gets its 405 before anybody is asked for a token.
        if getattr(type(self), method) is getattr(RequestHandler, method):
            raise HTTPError(405)
        self.identity = await self.context.authenticator.identify(self)
        self.context.watch.require()

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
