"""Upstream's own suites, from their source distributions, with our store in the place of theirs."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

# They are about SQLite's own options.
_ABOUT_SQLITE = ("test_document_ttl_from_settings", "test_squash_after_inactivity_of_from_settings")


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sdists")


def _source(package: str, folder: Path) -> Path:
    """The unpacked source distribution of the version that is installed here."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    wanted = f"{package}=={version(package)}"
    command += ["--no-binary", ":all:", "--dest", str(folder), wanted]
    downloaded = subprocess.run(command, capture_output=True, text=True, timeout=150)
    if downloaded.returncode:
        if os.environ.get("CI"):
            pytest.fail(f"{wanted} can't be downloaded: {downloaded.stderr[-500:]}")
        pytest.skip(f"LOUD: {wanted} can't be downloaded: this needs the network")
    (archive,) = folder.glob(f"{package.replace('-', '_')}-*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    return archive.with_name(archive.name.removesuffix(".tar.gz"))


def _run(source: Path, database_url: str, *options: str) -> str:
    support = Path(__file__).parents[1]
    environment = os.environ | {"RTC_DATABASE_URL": database_url, "PYTHONPATH": str(support)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "support.our_store", "-p", "no:cacheprovider"]
    suite = subprocess.run(
        [*command, "--timeout", "60", *options, "tests"],
        cwd=source,
        env=environment,
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert suite.returncode == 0, suite.stdout[-5000:]
    return suite.stdout.splitlines()[-1]


def test_jupyter_server_ydocs_suite_passes(downloads: Path, database_url: str) -> None:
    source = _source("jupyter-server-ydoc", downloads)
    left_out = [option for name in _ABOUT_SQLITE for option in ("--deselect", f"tests/test_app.py::{name}")]
    assert "59 passed" in _run(source, database_url, *left_out)


def test_pycrdt_stores_portable_tests_pass(downloads: Path, database_url: str) -> None:
    source = _source("pycrdt-store", downloads)
    # Those that name no store of their own and no option of SQLite's, with asyncio.
    outcome = _run(source, database_url, "-k", "test_ystore and MySQLiteYStore and not trio")
    assert "2 passed" in outcome
