"""A pytest plugin for upstream's own suites: our store takes the place of their SQLite store, in an empty database."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest
from jupyter_server_ydoc import pytest_plugin, stores
from jupyter_server_ydoc.app import YDocExtension

from jupyter_rtc_amprenta.ystore import PostgresYStore


class StoreOfSuite(PostgresYStore):
    """Takes what upstream's suites give their own stores, and says when an awaited write is done."""

    def __init__(self, *args: Any, delete: bool = False, **options: Any) -> None:
        super().__init__(*args, **options)


stores.SQLiteYStore = pytest_plugin.SQLiteYStore = StoreOfSuite
YDocExtension.ystore_class.default_value = StoreOfSuite


@pytest.fixture(autouse=True)
def empty_database() -> Iterator[None]:
    """Each test begins without documents, as with a new SQLite file."""
    connection = psycopg2.connect(os.environ["RTC_DATABASE_URL"])
    connection.autocommit = True
    connection.cursor().execute("TRUNCATE yjs_documents CASCADE")
    connection.close()
    yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """pycrdt-store's suite names its stores itself: ours is put where its SQLite store is asked for."""
    module = sys.modules.get("test_store")
    for item in items:
        call = getattr(item, "callspec", None)
        if module is not None and call is not None and call.params.get("YStore") is module.MySQLiteYStore:
            call.params["YStore"] = StoreOfSuite
