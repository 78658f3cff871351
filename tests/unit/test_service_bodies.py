"""What clients send is checked, and a refusal says what it should be."""

from __future__ import annotations

from typing import Any

import pytest

from jupyter_rtc_amprenta.core.queries_presence import Present
from jupyterhub_service import bodies
from jupyterhub_service.errors import BadRequest

FILE = {"volume": "v", "file_id": "1", "document_type": "notebook", "path": "a/b.ipynb", "title": "B"}


def test_a_document() -> None:
    assert bodies.document_body(FILE) == bodies.DocumentBody("v", "1", "notebook", "a/b.ipynb", "B")


def test_a_document_without_title_is_called_as_its_file() -> None:
    assert bodies.document_body(FILE | {"title": ""}).title == "b.ipynb"
    assert bodies.document_body({**FILE, "title": None}).title == "b.ipynb"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"volume": None}, "missing_volume"),
        ({"file_id": ""}, "missing_file_id"),
        ({"path": 7}, "invalid_path"),
        ({"path": "x" * 4097}, "invalid_path"),
        ({"path": "a\0b"}, "invalid_path"),
        ({"title": "\ud800"}, "invalid_title"),
        ({"document_type": "movie"}, "invalid_document_type"),
    ],
)
def test_a_wrong_document(change: dict[str, Any], code: str) -> None:
    with pytest.raises(BadRequest) as refused:
        bodies.document_body(FILE | change)
    assert refused.value.code == code


def test_an_invite_has_defaults() -> None:
    assert bodies.invite_body({"username": "bob"}) == bodies.InviteBody("bob", "", "read-write")


@pytest.mark.parametrize(
    ("body", "code", "detail"),
    [
        ({}, "missing_username", "username is required."),
        (
            {"username": "bob", "permissions": "admin"},
            "invalid_permissions",
            "permissions must be read-only or read-write.",
        ),
        (
            {"username": ["bob"]},
            "invalid_username",
            "username must be a text of 200 characters at most.",
        ),
        (
            {"username": "bob", "message": "x" * 2001},
            "invalid_message",
            "message must be a text of 2000 characters at most.",
        ),
    ],
)
def test_a_wrong_invite(body: dict[str, Any], code: str, detail: str) -> None:
    with pytest.raises(BadRequest) as refused:
        bodies.invite_body(body)
    assert (refused.value.code, refused.value.detail) == (code, detail)


def test_a_token_may_name_a_document() -> None:
    assert bodies.token_body({}) is None
    assert bodies.token_body({"document_id": "x"}) == "x"


def test_presence_of_one_document_counts_once() -> None:
    documents = [
        {"document_id": "x", "connections": 1, "place": None},
        {"document_id": "x", "connections": 2, "place": "cell 3"},
    ]
    assert bodies.presence_body({"documents": documents}) == [Present("x", 2, "cell 3")]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_documents"),
        ({"documents": ["x"]}, "invalid_documents"),
        ({"documents": [{"document_id": "x"}] * 1001}, "invalid_documents"),
        ({"documents": [{"document_id": "x", "connections": -1}]}, "invalid_connections"),
        ({"documents": [{"document_id": "x", "connections": True}]}, "invalid_connections"),
        ({"documents": [{"connections": 1}]}, "missing_document_id"),
    ],
)
def test_wrong_presence(body: dict[str, Any], code: str) -> None:
    with pytest.raises(BadRequest) as refused:
        bodies.presence_body(body)
    assert refused.value.code == code


def test_a_link_is_for_one_reader() -> None:
    assert bodies.link_body({}) == bodies.LinkBody("read-only", 1, None)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"max_uses": 0}, "invalid_max_uses"),
        ({"max_uses": True}, "invalid_max_uses"),
        ({"max_uses": 1001}, "invalid_max_uses"),
        ({"permissions": "owner"}, "invalid_permissions"),
        ({"expires_in": "1"}, "invalid_expires_in"),
        ({"expires_in": True}, "invalid_expires_in"),
        ({"expires_in": float("nan")}, "invalid_expires_in"),
        ({"expires_in": -5}, "invalid_expires_in"),
    ],
)
def test_a_wrong_link(body: dict[str, Any], code: str) -> None:
    with pytest.raises(BadRequest) as refused:
        bodies.link_body(body)
    assert refused.value.code == code


@pytest.mark.parametrize("key", ["é", "a\x00", "x" * 201])
def test_a_wrong_idempotency_key(key: str) -> None:
    with pytest.raises(BadRequest):
        bodies.idempotency_key(key)
