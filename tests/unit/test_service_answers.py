"""What clients are told: times, sentences, ids, errors."""

from __future__ import annotations

import re
from dataclasses import fields
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest
from tornado.web import HTTPError

from jupyter_rtc_amprenta.core.errors import DatabaseUnavailable, DocumentNotFound, SchemaMismatch
from jupyter_rtc_amprenta.core.schema import now
from jupyter_rtc_amprenta.core.settings import VARIABLES, Settings
from jupyter_rtc_amprenta.core.traits import settings_of
from jupyterhub_service import views
from jupyterhub_service.app import RtcService
from jupyterhub_service.base import error_answer
from jupyterhub_service.collaboration import new_document_id
from jupyterhub_service.errors import Forbidden
from jupyterhub_service.setting_traits import FIELDS


def test_times_are_utc() -> None:
    time = datetime(2025, 12, 31, 12, 22, 35, tzinfo=timezone(timedelta(hours=1)))
    assert views.instant(time) == "2025-12-31T11:22:35.000000Z"
    assert views.instant(None) is None


@pytest.mark.parametrize(
    ("action", "text"),
    [
        ("created", "researcher created the session"),
        ("joined", "researcher joined the session"),
        ("invited", "researcher invited bob"),
        ("accepted", "researcher accepted the invitation"),
        ("renamed", "researcher renamed"),
    ],
)
def test_sentences(action: str, text: str) -> None:
    assert views.sentence(SimpleNamespace(username="researcher", action=action, detail="bob")) == text


def test_a_name_in_braces_is_only_a_name() -> None:
    row = SimpleNamespace(username="{whom}", action="invited", detail="{who}")
    assert views.sentence(row) == "{whom} invited {who}"


def test_an_open_invite_that_is_too_old_is_expired() -> None:
    row = SimpleNamespace(
        invite_id="i", document_id="d", title="T", document_type="text", invited_user="bob", invited_by="alice",
        message="", permissions="read-only", state="pending", created_at=now(), answered_at=None,
        expires_at=now() - timedelta(seconds=1),
    )  # fmt: skip
    assert views.invite(row, "/")["state"] == "expired"
    row.state = "accepted"
    assert views.invite(row, "/")["state"] == "accepted"


@pytest.mark.parametrize(
    ("title", "prefix"),
    [
        ("Customer Data Analysis", "notebook_customer_data_analysis"),
        ("é/..\\ <b>", "notebook_b"),
        ("", "notebook"),
        ("x" * 100, "notebook_" + "x" * 31),
    ],
)
def test_ids_can_be_read_and_not_be_guessed(title: str, prefix: str) -> None:
    document_id = new_document_id("notebook", title)
    assert re.fullmatch(re.escape(prefix) + "_[0-9a-f]{32}", document_id)
    assert document_id != new_document_id("notebook", title)


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (Forbidden("owner_required", "Only the owner."), (403, "owner_required", "Only the owner.")),
        (DatabaseUnavailable("Away."), (503, "database_unavailable", "Away.")),
        (SchemaMismatch("Old."), (503, "schema_mismatch", "Old.")),
        (DocumentNotFound("None."), (404, "not_found", "None.")),
        (HTTPError(405), (405, "method_not_allowed", "Method Not Allowed")),
        (HTTPError(400, "secret"), (400, "bad_request", "Bad Request")),
    ],
)
def test_errors(error: Exception, answer: tuple[int, str, str]) -> None:
    assert error_answer(error, getattr(error, "status_code", 500)) == answer


def test_a_fault_of_ours_tells_nothing() -> None:
    assert error_answer(ValueError("secret"), 500) == (500, "internal_server_error", "Internal Server Error")


def test_every_variable_of_the_service_is_a_trait_with_its_help() -> None:
    traits = RtcService.class_traits(config=True)
    for variable in VARIABLES:
        if variable.field in FIELDS:
            assert variable.help in traits[variable.field].help
            assert variable.name in traits[variable.field].help


def test_every_variable_is_a_setting() -> None:
    assert {variable.field for variable in VARIABLES} == {field.name for field in fields(Settings)}


def test_a_trait_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YJS_SERVER_PORT", "1111")
    monkeypatch.setenv("RTC_TOKEN_SECONDS", "7")
    settings = settings_of(RtcService(yjs_server_port=4321), FIELDS)
    assert (settings.yjs_server_port, settings.token_seconds) == (4321, 7.0)
