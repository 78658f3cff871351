"""Whom a state is shown as: never whom it says it is."""

from __future__ import annotations

import pytest

from jupyter_rtc_amprenta.core.presence import Speaker, vouched

ALICE = Speaker("alice", "Alice Liddell")
HER_SERVER = Speaker("alice", "Alice Liddell", "alice/")


@pytest.mark.parametrize(
    "user", [{}, {"name": "bob"}, {"name": "bob", "username": "bob", "display_name": "B"}, "bob", None]
)
def test_a_persons_own_connection_shows_the_tokens_user(user):
    shown = vouched({"user": user, "cursor": 1}, ALICE)
    assert shown["cursor"] == 1
    assert {shown["user"][key] for key in ("name", "display_name") if key in shown["user"]} == {"Alice Liddell"}
    assert shown["user"].get("username", "alice") == "alice"


def test_a_state_without_a_user_gets_one():
    assert vouched({"cursor": 1}, ALICE) == {"cursor": 1, "user": {"name": "Alice Liddell"}}


def test_a_links_own_user_has_the_tokens_names_whatever_it_says():
    state = {"user": {"username": "alice", "name": "bob", "color": "red"}}
    assert vouched(state, HER_SERVER) == {"user": {"username": "alice", "name": "Alice Liddell", "color": "red"}}


def test_a_guest_on_a_server_is_shown_as_that_servers_word():
    state = {"user": {"username": "bob", "name": "Bob", "display_name": "Bob", "color": "red"}}
    assert vouched(state, HER_SERVER)["user"] == {
        "username": "bob, via alice's server",
        "name": "Bob, via alice's server",
        "display_name": "Bob, via alice's server",
        "color": "red",
    }
    named = Speaker("alice", "alice", "alice/gpu")
    assert vouched(state, named)["user"]["name"] == "Bob, via alice's server gpu"


def test_a_link_that_names_nobody_is_shown_as_nobody():
    assert vouched({"user": None, "x": 1}, HER_SERVER) == {"x": 1}
    assert vouched({}, HER_SERVER) == {}
