"""How the pages write times and names, where they link to, and what they let a browser do."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from jinja2 import UndefinedError

from jupyter_rtc_amprenta.core.schema import now
from jupyterhub_service import rendering, views
from jupyterhub_service.site import Site


def at(**shift: float) -> str:
    return str(views.instant(now() + timedelta(**shift)))


@pytest.mark.parametrize(
    ("shift", "text"),
    [
        ({"seconds": 5}, "just now"),  # another machine's clock
        ({"seconds": -59}, "just now"),
        ({"seconds": -61}, "1 minute ago"),
        ({"minutes": -59}, "59 minutes ago"),
        ({"hours": -2}, "2 hours ago"),
        ({"days": -1}, "1 day ago"),
        ({"days": -13, "hours": -23}, "13 days ago"),
    ],
)
def test_how_long_ago(shift: dict[str, float], text: str) -> None:
    assert rendering.ago(at(**shift)) == text


def test_what_is_long_past_has_a_date() -> None:
    assert rendering.ago("2025-12-03T11:22:35.866404Z") == "on 3 December 2025"
    assert rendering.utc("2025-12-03T09:05:35.866404Z") == "3 December 2025, 09:05 UTC"


@pytest.mark.parametrize(
    ("shift", "text"),
    [
        ({"days": 1}, "in 1 day"),
        ({"minutes": 5}, "in 5 minutes"),
        ({"hours": 3, "minutes": 20}, "in 3 hours"),
        ({"seconds": 20}, "within a minute"),
        ({"seconds": -20}, "within a minute"),
    ],
)
def test_how_long_until(shift: dict[str, float], text: str) -> None:
    assert rendering.until(at(**shift)) == text


@pytest.mark.parametrize(
    ("name", "letters"),
    [("alice", "A"), ("Ada Lovelace", "AL"), ("Grace Brewster Hopper", "GH"), ("", "?"), ("åsa ö", "ÅÖ")],
)
def test_initials(name: str, letters: str) -> None:
    assert rendering.initials(name) == letters


def people(*names: str) -> list[dict[str, Any]]:
    return [{"username": name, "display_name": name.title()} for name in names]


@pytest.mark.parametrize(
    ("there", "text"),
    [
        ((), "nobody"),
        (("bob",), "Bob"),
        (("alice",), "you"),
        (("bob", "alice"), "you and Bob"),
        (("alice", "bob", "carol", "dan"), "you, Bob, Carol and Dan"),
        (("alice", "bob", "carol", "dan", "eve"), "you, Bob, Carol and 2 more"),
    ],
)
def test_names_in_a_sentence(there: tuple[str, ...], text: str) -> None:
    assert rendering.names(people(*there), "alice") == text


def test_what_people_write_is_escaped_and_an_unknown_name_is_an_error() -> None:
    templates = rendering.environment()
    assert templates.from_string("{{ x }}").render(x="<script>") == "&lt;script&gt;"
    with pytest.raises(UndefinedError):
        templates.from_string("{{ y }}").render()


def site(hub_url: str = "/hub/") -> Site:
    return Site(rendering.environment(), "/services/rtc/", hub_url, "/services/rtc/api")


def test_an_owner_opens_the_file_and_the_others_their_copy() -> None:
    session = {"document_id": "notebook_a~1", "document_path": "my work/ü#1.ipynb"}
    assert site().open(session, True) == "/hub/user-redirect/lab/tree/my%20work/%C3%BC%231.ipynb"
    assert site().open(session, False) == "/hub/user-redirect/rtc/join/notebook_a~1"


def test_with_subdomains_a_form_may_lead_to_the_hub_and_to_the_users_servers() -> None:
    assert "form-action 'self';" in site().content_security_policy()
    policy = site("https://hub.example.org/hub/").content_security_policy()
    assert "form-action 'self' https://hub.example.org https://*.hub.example.org;" in policy
