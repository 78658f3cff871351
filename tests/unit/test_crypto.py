"""Encryption at rest: what is bound to its place, which keys are told apart, and what is said of wrong ones."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.logs import new_keys

from jupyter_rtc_amprenta.core.crypto import PLAIN, EncryptionKeys, snapshot_place, update_place
from jupyter_rtc_amprenta.core.errors import ConfigurationError, DatabaseError, EncryptionError

KEYS = new_keys("a", "b")
PLACE = update_place("d", 1, "w", 1)


@given(st.binary(max_size=2000))
def test_what_is_sealed_is_opened(plain: bytes) -> None:
    sealed, key_id = KEYS.seal(plain, "d", PLACE)
    assert key_id == "a"
    assert KEYS.open(sealed, key_id, "d", PLACE) == plain


def test_the_content_is_not_in_what_is_kept_and_is_compressed() -> None:
    plain = b"a secret sentence " * 100
    sealed, _ = KEYS.seal(plain, "d", PLACE)
    assert b"secret" not in sealed and len(sealed) < len(plain) / 5


def test_the_same_content_is_never_sealed_the_same() -> None:
    assert KEYS.seal(b"x", "d", PLACE) != KEYS.seal(b"x", "d", PLACE)


@pytest.mark.parametrize(
    ("document_id", "place"),
    [
        ("other", update_place("other", 1, "w", 1)),
        ("d", update_place("d", 2, "w", 1)),
        ("d", update_place("d", 1, "v", 1)),
        ("d", update_place("d", 1, "w", 2)),
        ("d", snapshot_place("d", 1, 1)),
    ],
)
def test_bytes_that_were_moved_elsewhere_are_refused(document_id: str, place: bytes) -> None:
    sealed, key_id = KEYS.seal(b"x", "d", PLACE)
    with pytest.raises(EncryptionError, match="altered"):
        KEYS.open(sealed, key_id, document_id, place)


@pytest.mark.parametrize("at", [0, 12, -1])
def test_bytes_that_were_altered_are_refused(at: int) -> None:
    sealed = bytearray(KEYS.seal(b"some text", "d", PLACE)[0])
    sealed[at] ^= 1
    with pytest.raises(EncryptionError, match="altered"):
        KEYS.open(bytes(sealed), "a", "d", PLACE)


@pytest.mark.parametrize("length", [0, 5, 12, 20])
def test_bytes_that_were_cut_are_refused(length: int) -> None:
    sealed, _ = KEYS.seal(b"some text", "d", PLACE)
    with pytest.raises(EncryptionError):
        KEYS.open(sealed[:length], "a", "d", PLACE)


def test_an_older_key_still_opens_and_plain_rows_stay_readable() -> None:
    older = new_keys("old")
    sealed, _ = older.seal(b"x", "d", PLACE)
    both = EncryptionKeys({"new": b"n" * 32, "old": older._keys["old"]})
    assert both.key_id == "new"
    assert both.open(sealed, "old", "d", PLACE) == b"x"
    assert both.open(b"plain", None, "d", PLACE) == b"plain"


def test_a_missing_and_a_wrong_key_are_told() -> None:
    sealed, _ = KEYS.seal(b"x", "d", PLACE)
    with pytest.raises(EncryptionError, match="key a, which RTC_ENCRYPTION_KEYS lacks"):
        PLAIN.open(sealed, "a", "d", PLACE)
    with pytest.raises(EncryptionError, match="key a is another one"):
        new_keys("a").open(sealed, "a", "d", PLACE)
    # Handled like a database that can't be read, and never like a document that is not there.
    assert issubclass(EncryptionError, DatabaseError)


def test_without_keys_nothing_is_encrypted() -> None:
    assert PLAIN.seal(b"x", "d", PLACE) == (b"x", None)
    assert not PLAIN and KEYS


SECRET = base64.b64encode(b"s" * 32).decode()


@pytest.mark.parametrize(
    "text",
    [f"k:{SECRET[:-4]}", SECRET, ":", f":{SECRET}", f"a b:{SECRET}", f"k:{SECRET},k:{SECRET}", "k:!"],
)
def test_wrong_keys_are_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ConfigurationError, match="RTC_ENCRYPTION_KEYS") as error:
        EncryptionKeys.parse(text)
    assert SECRET[:8] not in str(error.value)


def test_keys_may_have_spaces_around() -> None:
    assert EncryptionKeys.parse(f" a:{SECRET} , b:{SECRET},").key_id == "a"
    assert not EncryptionKeys.parse("  ")
