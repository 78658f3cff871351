"""The API described, as OpenAPI 3.1: made from `operations.py` and `schemas.py`, from which it is served too."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from .base import BaseHandler
from .operation import PATTERNS, Operation
from .operations import OPERATIONS
from .schemas import ANSWERS, BODIES, PARAMETERS, Schema

# What every operation may answer, by what the caller is, asks, and when.
_ALWAYS = (401, 403, 429, 503)
_HEADERS = {
    "X-Request-ID": "What the request is called in the service's log.",
    "RateLimit-Limit": "Requests a minute.",
    "RateLimit-Remaining": "How many may follow at once.",
    "RateLimit-Reset": "In how many seconds all of them may follow again.",
}


def document(prefix: str, operations: Sequence[Operation] = OPERATIONS) -> dict[str, Any]:
    """The OpenAPI document.

    Args:
        prefix: the path of the API, such as `/services/rtc/api/v1/collaboration`.
    """
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Amprenta RTC",
            "version": version("jupyter-rtc-amprenta"),
            "description": "Documents that are edited by many, each from the own server, and who takes part.",
        },
        "servers": [{"url": prefix}],
        "security": [{"token": []}, {"cookie": []}],
        "paths": paths,
        "components": {
            "schemas": ANSWERS | BODIES,
            "headers": {name: {"description": text, "schema": {"type": "string"}} for name, text in _HEADERS.items()},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of the Hub, or a JWT from `POST /token`.",
                },
                "cookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "service-rtc",
                    "description": "The cookie of a page of the service, with its XSRF token in X-XSRFToken.",
                },
            },
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": _name(operation),
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": _parameters(operation),
        "responses": _responses(operation),
    }
    if operation.body:
        described["requestBody"] = {
            "required": not operation.optional_body,
            "content": {"application/json": {"schema": _ref(operation.body)}},
        }
    return described


def _name(operation: Operation) -> str:
    words = [part for part in operation.path.split("/") if part and not part.startswith("{")]
    one = "one_" if operation.path.endswith("}") else ""
    return f"{operation.method}_{one}{'_'.join(words)}"


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    in_path = [
        _parameter(name, "path", {"type": "string", "pattern": f"^{pattern}$"}, "")
        for name, pattern in PATTERNS.items()
        if f"{{{name}}}" in operation.path
    ]
    in_query = [_parameter(name, "query", *PARAMETERS[name]) for name in operation.query]
    in_header = [_parameter(name, "header", *PARAMETERS[name]) for name in operation.headers]
    return in_path + in_query + in_header


def _parameter(name: str, place: str, schema: Schema, text: str) -> dict[str, Any]:
    described = {"name": name, "in": place, "required": place == "path", "schema": schema}
    return described | ({"description": text} if text else {})


def _responses(operation: Operation) -> dict[str, Any]:
    statuses = {*_ALWAYS, *operation.refusals}
    if operation.body or operation.query or operation.headers:
        statuses.add(400)
    if operation.body:
        statuses.add(413)
    if "{" in operation.path:
        statuses.add(404)
    if operation.method == "get":
        statuses.add(304)
    answers = {str(status): _answer(status, schema) for status, schema in operation.answers.items()}
    refusals = {str(status): _refusal(status) for status in sorted(statuses)}
    return answers | refusals


def _answer(status: int, schema: str) -> dict[str, Any]:
    described: dict[str, Any] = {"description": HTTPStatus(status).phrase, "headers": _headers()}
    if schema == "text/event-stream":
        described["content"] = {schema: {"schema": {"type": "string"}}}
    elif schema:
        described["content"] = {"application/json": {"schema": _ref(schema)}}
    return described


def _refusal(status: int) -> dict[str, Any]:
    if status == 304:
        return {"description": "It still holds what the client has (If-None-Match)."}
    content = {"application/json": {"schema": _ref("Error")}}
    return {"description": HTTPStatus(status).phrase, "content": content}


def _headers() -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in _HEADERS}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


class OpenApiHandler(BaseHandler):
    """`/openapi.json`"""

    prefix: str

    def get(self) -> None:
        """Describe the API."""
        self.send(document(self.prefix))
