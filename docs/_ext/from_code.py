"""Pages that are made from the code, so that they can't drift: variables, commands, the REST API, metrics.

In MyST: ```{variables}```, ```{commands}```, ```{rest-api}```, ```{metrics}```. Each makes Markdown, which is parsed
like the page around it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from jupyter_rtc_amprenta.cli import build_parser
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.settings import VARIABLES, read
from jupyterhub_service import openapi
from jupyterhub_service.yjs_server import YjsServer

API = "/api/v1/collaboration"


class FromCode(SphinxDirective):
    """A directive without arguments, whose Markdown comes from `lines()`."""

    has_content = False

    def lines(self) -> Iterable[str]:
        """The Markdown."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes("\n".join(self.lines()), allow_section_headings=True)


class Variables(FromCode):
    """Every environment variable."""

    def lines(self) -> Iterator[str]:
        yield from _table("variable", "default", "meaning")
        for variable in VARIABLES:
            default = f"`{variable.default}`" if variable.default != "" else "not set"
            yield _row(f"`{variable.name}`", default, variable.help)


class Commands(FromCode):
    """Every command of `jupyter-rtc`, with its options."""

    def lines(self) -> Iterator[str]:
        for name, command in _subcommands(build_parser()).items():
            usage = " ".join(command.format_usage().removeprefix("usage: ").split())
            yield from (f"## {name}", "", _sentence(command.description), "", "```text", usage, "```", "")
            options = [one for one in command._actions if one.dest != "help"]
            if options:
                yield from _table("option", "meaning")
                for option in options:
                    text = option.help or ""
                    yield _row(f"`{_spelling(option)}`", text % {**vars(option), "prog": command.prog})
                yield ""


class RestApi(FromCode):
    """Every operation of the API, as `/openapi.json` describes it."""

    def lines(self) -> Iterator[str]:
        described = openapi.document(API)
        tags: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
        for path, methods in described["paths"].items():
            for method, operation in methods.items():
                tags.setdefault(operation["tags"][0], []).append((path, method, operation))
        for tag, operations in tags.items():
            yield from (f"## {tag}", "")
            for path, method, operation in operations:
                yield from _operation(path, method, operation)
        yield from ("## Bodies and answers", "")
        for name, schema in described["components"]["schemas"].items():
            yield from _schema(name, schema)


class MetricNames(FromCode):
    """Every metric of a Y.js server."""

    def lines(self) -> Iterator[str]:
        yield from _table("metric", "kind", "what it is")
        # Made and never started: it connects to nothing.
        server = YjsServer(read({}), Database("postgresql://nowhere/none"), None)
        for family in sorted(server.metrics.registry.collect(), key=lambda family: family.name):
            yield _row(f"`{family.name}`", family.type, family.documentation)


def _subcommands(whole: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    (commands,) = (one for one in whole._actions if isinstance(one, argparse._SubParsersAction))
    # argparse keeps the one-line help apart from the command's own parser.
    for choice in commands._choices_actions:
        commands.choices[choice.dest].description = commands.choices[choice.dest].description or choice.help
    return commands.choices


def _spelling(option: argparse.Action) -> str:
    return ", ".join(option.option_strings) or option.dest.upper()


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"### {method.upper()} {path}", "", operation["summary"], "")
    parameters = [one for one in operation["parameters"] if one["in"] != "path"]
    if parameters:
        yield from _table("parameter", "type", "meaning")
        for one in parameters:
            yield _row(f"`{one['name']}` ({one['in']})", _type(one["schema"]), one.get("description", ""))
        yield ""
    if body := operation.get("requestBody"):
        schema = body["content"]["application/json"]["schema"]
        yield from (f"Body: {_type(schema)}{'' if body['required'] else ', which may be left out'}.", "")
    answers = (_answer(status, answer) for status, answer in operation["responses"].items())
    yield from ("Answers: " + "; ".join(answers) + ".", "")


def _answer(status: str, answer: Mapping[str, Any]) -> str:
    schemas = [content["schema"] for content in answer.get("content", {}).values()]
    told = f" {_type(schemas[0])}" if schemas and int(status) < 300 else f" {HTTPStatus(int(status)).phrase}"
    return f"**{status}**{told}"


def _schema(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"### {name}", "")
    if "properties" not in schema:
        yield from (_type(schema), "")
        return
    required = schema.get("required", ())
    yield from _table("field", "type", "")
    for field, kind in schema["properties"].items():
        yield _row(f"`{field}`", _type(kind), "" if field in required else "optional")
    yield ""


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    kinds = schema.get("type", "anything")
    text = " or ".join(kinds if isinstance(kinds, list) else [kinds])
    if "items" in schema:
        text += f" of {_type(schema['items'])}"
    return f"{text} ({schema['format']})" if "format" in schema else text


def _table(*heads: str) -> tuple[str, str]:
    return _row(*heads), "|" + "---|" * len(heads)


def _row(*cells: str) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _sentence(text: str | None) -> str:
    text = (text or "").strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the directives."""
    for name, directive in (
        ("variables", Variables),
        ("commands", Commands),
        ("rest-api", RestApi),
        ("metrics", MetricNames),
    ):
        app.add_directive(name, directive)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
