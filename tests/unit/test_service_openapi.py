"""The API is served as it is described: the document is well-formed, and nothing is in one and not in the other."""

from __future__ import annotations

import json
import re

import pytest
from jsonschema import Draft202012Validator
from tornado.web import RequestHandler

from jupyterhub_service import openapi, operations, routes, schemas
from jupyterhub_service.base import BaseHandler
from jupyterhub_service.operation import Operation
from jupyterhub_service.operations import OPERATIONS

each_operation = pytest.mark.parametrize(
    "operation", OPERATIONS, ids=lambda operation: f"{operation.method} {operation.path}"
)


def test_every_method_of_every_handler_is_described_and_no_other() -> None:
    described: dict[type[BaseHandler], set[str]] = {}
    for operation in OPERATIONS:
        described.setdefault(operation.handler, set()).add(operation.method.upper())
    for handler, methods in described.items():
        assert methods == set(handler.methods()), handler
    assert len({(one.method, one.path) for one in OPERATIONS}) == len(OPERATIONS)


def test_every_handler_of_the_api_is_served() -> None:
    def below(kind: type) -> set[type]:
        return {kind}.union(*(below(one) for one in kind.__subclasses__()))

    served = set(operations.handlers().values())
    modules = (".api", ".api_admin", ".api_history", ".event_stream")
    ours = {kind for kind in below(routes.api.RuleHandler) if kind.__module__.endswith(modules)}
    assert ours - {routes.api.RuleHandler} == served


@each_operation
def test_a_path_is_served_by_its_handler_alone(operation: Operation) -> None:
    examples = {
        "document_id": "notebook_1",
        "invite_id": "0" * 36,
        "link_id": "0" * 36,
        "version_id": "0" * 36,
        "token": "x" * 32,
        "username": "b%C3%B6b",
    }
    path = operation.path.format(**examples)
    found = [handler for pattern, handler in operations.handlers().items() if re.fullmatch(pattern, path)]
    assert found == [operation.handler]


def test_every_schema_is_one_and_every_reference_leads_somewhere() -> None:
    document = openapi.document("/services/rtc/api/v1/collaboration")
    known = document["components"]["schemas"]
    for schema in known.values():
        Draft202012Validator.check_schema(schema)
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert references == set(known)
    assert len({one["operationId"] for path in document["paths"].values() for one in path.values()}) == len(
        OPERATIONS
    )


def test_every_parameter_is_used() -> None:
    used = {name for operation in OPERATIONS for name in (*operation.query, *operation.headers)}
    assert used == set(schemas.PARAMETERS)


@each_operation
def test_an_operation_is_a_coroutine_or_at_least_there(operation: Operation) -> None:
    method = getattr(operation.handler, operation.method)
    assert method is not getattr(RequestHandler, operation.method)
    assert operation.summary.endswith(".")
