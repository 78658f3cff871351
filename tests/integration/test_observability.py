"""The dashboard and the alert rules ask for what a real Y.js server tells."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import requests
import yaml
from support.yjs_processes import YjsProcess

from jupyter_rtc_amprenta.core import migrate
from jupyter_rtc_amprenta.demo.postgres import EmbeddedPostgres

pytestmark = pytest.mark.integration

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "amprenta-rtc.json").read_text())
RULES = yaml.safe_load((DEPLOY / "prometheus" / "amprenta-rtc.rules.yml").read_text())
# What Prometheus itself says of a target.
ITS_OWN = {"up"}


def panel_expressions() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]


def alert_expressions() -> list[str]:
    return [rule["expr"] for group in RULES["groups"] for rule in group["rules"]]


def selectors(expression: str) -> Iterator[Any]:
    """The series that an expression asks for."""
    # Grafana fills in its variables.
    tree = promql_parser.parse(expression.replace("$__rate_interval", "5m").replace("$", ""))
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, promql_parser.VectorSelector):
            yield node
        for name in ("expr", "lhs", "rhs", "param", "args", "vector_selector", "vs"):
            part = getattr(node, name, None)
            if part is not None:
                waiting += part if isinstance(part, list) else [part]


@pytest.fixture(scope="module")
def told(
    tmp_path_factory: pytest.TempPathFactory, postgres: EmbeddedPostgres
) -> Iterator[dict[str, set[str]]]:
    """What a server that has seen a refusal tells: the labels of each series."""
    url = postgres.create_database("observability")
    migrate.upgrade(url)
    server = YjsProcess(tmp_path_factory.mktemp("observability") / "yjs.log", RTC_DATABASE_URL=url)
    try:
        asyncio.run(server.becomes(200, seconds=120))
        yield _series(server)
    finally:
        server.kill()


def _series(server: YjsProcess) -> dict[str, set[str]]:
    url = f"http://127.0.0.1:{server.port}"
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    requests.get(f"{url}/doc/nothing", headers=upgrade, timeout=10, stream=True).close()
    found: dict[str, set[str]] = {}
    for line in requests.get(f"{url}/metrics", timeout=10).text.splitlines():
        if match := re.match(r"([a-z_:]+)(?:\{(.*)\})? ", line):
            found.setdefault(match[1], set()).update(re.findall(r'(\w+)="', match[2] or ""))
    return found


@pytest.mark.parametrize(
    "expressions", [panel_expressions(), alert_expressions()], ids=["dashboard", "alerts"]
)
def test_what_is_asked_for_is_told(expressions: list[str], told: dict[str, set[str]]) -> None:
    asked = {selector.name for expression in expressions for selector in selectors(expression)} - ITS_OWN
    assert len(asked) > 7
    assert asked - set(told) == set()


def test_the_labels_that_are_asked_for_are_told(told: dict[str, set[str]]) -> None:
    assert "reason" in told["rtc_refused_total"]
    assert "statement" in told["rtc_database_seconds_bucket"]
    # Prometheus itself gives each series these two.
    known = {"job", "instance", "le"} | {label for labels in told.values() for label in labels}
    for expression in panel_expressions() + alert_expressions():
        grouped = re.findall(r"by \(([^)]*)\)", expression)
        assert {label for one in grouped for label in one.replace(" ", "").split(",")} <= known, expression
        matched = {matcher.name for one in selectors(expression) for matcher in one.matchers.matchers}
        assert matched <= known, expression


def test_every_metric_of_the_server_is_on_the_dashboard(told: dict[str, set[str]]) -> None:
    """A new one must be shown where people look."""
    shown = " ".join(panel_expressions())
    families = {re.sub(r"_(bucket|count|sum|created)$", "", name) for name in told if name.startswith("rtc_")}
    assert [name for name in sorted(families) if name not in shown] == []


def test_panels_lie_beside_each_other_and_are_explained() -> None:
    taken: set[tuple[int, int]] = set()
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        assert panel["type"] == "row" or panel["description"], panel["title"]


def test_every_alert_says_what_it_means_and_how_bad_it_is() -> None:
    for group in RULES["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in ("critical", "warning"), rule["alert"]
            assert {"summary", "description"} <= set(rule["annotations"]), rule["alert"]


def test_every_alert_is_in_the_docs() -> None:
    page = (DEPLOY.parent / "docs" / "observability.md").read_text()
    missing = [
        rule["alert"]
        for group in RULES["groups"]
        for rule in group["rules"]
        if f"`{rule['alert']}`" not in page
    ]
    assert missing == []
