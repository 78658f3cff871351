"""Which part of a list a client asks for is checked, and a refusal says what it should be."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from jupyterhub_service import listing
from jupyterhub_service.errors import BadRequest

KEYS = (int, datetime.fromisoformat, str)


def test_a_cursor_comes_back_as_it_was() -> None:
    keys = (1, datetime(2025, 12, 31, 11, 22, 35, 866404, UTC), "x")
    page = listing.page({"limit": "7", "cursor": listing.next_cursor(keys)}, KEYS)
    assert (page.limit, tuple(page.after or ())) == (7, keys)


@pytest.mark.parametrize("limit", ["0", "-1", "501", "x", "1.5"])
def test_a_wrong_limit(limit: str) -> None:
    with pytest.raises(BadRequest) as refused:
        listing.page({"limit": limit}, KEYS)
    assert refused.value.code == "invalid_limit"


@pytest.mark.parametrize(
    "cursor",
    [
        "x", "%", "\u00e9", "bnVsbA==", "WzFd", "WzEsIDIsIDNd",
        listing.next_cursor((1, "no time", "x")), listing.next_cursor((1, datetime(2025, 12, 31, tzinfo=UTC), "a\0b")),
    ],
)  # fmt: skip
def test_a_wrong_cursor(cursor: str) -> None:
    with pytest.raises(BadRequest) as refused:
        listing.page({"cursor": cursor}, KEYS)
    assert refused.value.code == "invalid_cursor"
