"""The documentation is built without a warning, and says what the code says."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_rtc_amprenta.core.settings import VARIABLES
from jupyterhub_service.configuration import configure
from jupyterhub_service.operations import OPERATIONS

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    build = subprocess.run(
        [*command, "-d", str(folder / "doctrees"), str(DOCS), str(folder / "html")],
        capture_output=True,
        text=True,
    )
    assert build.returncode == 0, build.stderr
    return folder / "html"


def test_every_variable_is_in_the_configuration(built: Path) -> None:
    page = (built / "configuration.html").read_text()
    assert [one.name for one in VARIABLES if one.name not in page] == []


def test_every_parameter_of_configure_is_explained_where_a_hub_is_set_up(built: Path) -> None:
    page = (built / "install.html").read_text()
    parameters = [name for name in inspect.signature(configure).parameters if name != "c"]
    assert [name for name in parameters if f">{name}<" not in page] == []


def test_every_operation_is_in_the_rest_api(built: Path) -> None:
    page = (built / "rest-api.html").read_text()
    missing = [one.path for one in OPERATIONS if f"{one.method.upper()} {one.path}<" not in page]
    assert missing == []


def test_every_command_is_described(built: Path) -> None:
    page = (built / "commands.html").read_text()
    for command in ("demo", "migrate", "yjs-server", "token", "compact", "restore-version", "audit"):
        assert f'id="{command}"' in page, command


def test_what_the_metrics_page_explains_is_counted(built: Path) -> None:
    """A metric of the explaining table that no server counts would send people looking for it."""
    page = (built / "observability.html").read_text()
    explained, _, counted = page.partition('id="all-metrics"')
    named = {word.partition("<")[0] for word in explained.split(">rtc_")[1:]}
    assert named
    for name in named:
        assert f">rtc_{name.removesuffix('_total')}<" in counted, name
