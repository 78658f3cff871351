"""The API's description as a page for people: made from the same document as `/openapi.json`, without a script."""

from __future__ import annotations

from typing import Any

from . import openapi
from .pages import HtmlHandler
from .schemas import Schema

_REFERENCE = "#/components/schemas/"
_WORDS = {"string": "text", "integer": "number", "boolean": "true or false", "null": "nothing"}


class ApiPage(HtmlHandler):
    """`api`"""

    def get(self) -> None:
        """Describe the API; as `/openapi.json`, to everybody."""
        self.show("api.html", **described(openapi.document(self.site.api)))


def described(document: dict[str, Any]) -> dict[str, Any]:
    """What the page shows of an OpenAPI document: `operations` by tag, and `schemas` by name."""
    operations: dict[str, list[dict[str, Any]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            found = operation | {"method": method.upper(), "path": path, "body": _body(operation)}
            found["answers"] = [_answer(status, one) for status, one in operation["responses"].items()]
            found["parameters"] = [one | {"type": type_of(one["schema"])} for one in operation["parameters"]]
            operations.setdefault(operation["tags"][0], []).append(found)
    schemas = {name: _properties(schema) for name, schema in sorted(document["components"]["schemas"].items())}
    return {"operations": operations, "schemas": schemas, "server": document["servers"][0]["url"]}


def type_of(schema: Schema) -> str:
    """A schema in words, such as `text, at most 200 characters` or `list of Session`."""
    if "$ref" in schema:
        return schema["$ref"].removeprefix(_REFERENCE)
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    if schema["type"] == "array":
        return f"list of {type_of(schema['items'])}"
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    words = _WORDS | ({"string": "time"} if schema.get("format") == "date-time" else {})
    text = " or ".join(words.get(kind, kind) for kind in kinds)
    limits = [
        f"at least {schema['minimum']}" if "minimum" in schema else "",
        f"at most {schema['maximum']}" if "maximum" in schema else "",
        f"at most {schema['maxLength']} characters" if "maxLength" in schema else "",
        f"{schema['default']} if not given" if "default" in schema else "",
    ]
    return ", ".join(filter(None, (text, *limits)))


def references(schema: Schema) -> str:
    """The name of the schema that this one refers to, itself or for its items; "" for none."""
    return schema.get("items", schema).get("$ref", "").removeprefix(_REFERENCE)


def _properties(schema: Schema) -> list[dict[str, Any]]:
    required = schema.get("required", [])
    return [
        {"name": name, "type": type_of(one), "reference": references(one), "required": name in required}
        for name, one in schema["properties"].items()
    ]


def _body(operation: dict[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {})
    return references(content["application/json"]["schema"]) if content else ""


def _answer(status: str, answer: dict[str, Any]) -> dict[str, str]:
    content = answer.get("content", {}).get("application/json", {})
    return {
        "status": status,
        "text": answer["description"],
        "schema": references(content["schema"]) if content else "",
    }
