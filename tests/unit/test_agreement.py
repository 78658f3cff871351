"""A document as one of the servers saved it is made again from another server's history."""

from __future__ import annotations

from pycrdt import Doc, Text

from jupyter_rtc_amprenta.agreement import snapshot_of, state_at


def text_of(update: bytes | None) -> str | None:
    if update is None:
        return None
    document: Doc = Doc()
    document.apply_update(update)
    return str(document.get("source", type=Text))


class Writer:
    """A document with its history."""

    def __init__(self, *history: bytes) -> None:
        self.document: Doc = Doc()
        self.history = list(history)
        for update in history:
            self.document.apply_update(update)
        self.document.observe(lambda event: self.history.append(event.update))
        self.text = self.document.get("source", type=Text)


def test_what_was_deleted_since_is_there_again() -> None:
    writer = Writer()
    writer.text.insert(0, "one two three")
    saved = snapshot_of(writer.document)
    del writer.text[0:4]
    writer.text.insert(0, "new ")
    assert text_of(state_at(saved, writer.history)) == "one two three"


def test_what_was_typed_elsewhere_meanwhile_is_left_out() -> None:
    writer = Writer()
    writer.text.insert(0, "base")
    other = Writer(*writer.history)
    other.text.insert(0, "other ")
    saved = snapshot_of(writer.document)
    assert text_of(state_at(saved, other.history)) == "base"


def test_a_history_that_begins_later_does_not_make_it_up() -> None:
    writer = Writer()
    writer.text.insert(0, "one two")
    saved = snapshot_of(writer.document)
    del writer.text[0:4]
    later = Writer(writer.document.get_update())
    assert text_of(state_at(saved, later.history)) != "one two"


def test_nonsense_is_no_snapshot() -> None:
    writer = Writer()
    writer.text.insert(0, "x")
    for nonsense in (b"", b"\xff", b"\xff\xff\xff\xff\x0f", b"\x01\x05\x00\x09", b"a" * 50):
        assert text_of(state_at(nonsense, writer.history)) in (None, "", "x")
