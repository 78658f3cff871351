"""A token's scopes, as the Hub tells them, become one identity. The scopes are those that JupyterHub 6.1 answered."""

from __future__ import annotations

from typing import Any

import pytest

from jupyterhub_service.auth import identity_of
from jupyterhub_service.configuration import PERSON_SCOPE
from jupyterhub_service.errors import Forbidden

ACCESS = "access:services!service=rtc"


def model(*scopes: str, **more: Any) -> dict[str, Any]:
    return {"name": "alice", "kind": "user", "admin": False, "scopes": [ACCESS, *scopes]} | more


def test_a_users_own_token_is_a_person() -> None:
    identity = identity_of(model("access:servers!user=alice", PERSON_SCOPE, "tokens!user=alice"), True)
    assert (identity.kind, identity.username, identity.server, identity.by_hub) == (
        "person",
        "alice",
        "",
        True,
    )


def test_a_servers_token_is_the_server() -> None:
    identity = identity_of(model("access:servers!server=alice/", "users:activity!user=alice"), True)
    assert (identity.kind, identity.username, identity.server) == ("server", "alice", "alice/")


def test_a_named_servers_token_is_that_server() -> None:
    assert identity_of(model("access:servers!server=alice/gpu"), True).server == "alice/gpu"


def test_the_page_of_a_server_is_its_visitor() -> None:
    identity = identity_of(model("access:servers!server=bob/", PERSON_SCOPE), True)
    assert (identity.kind, identity.username, identity.server) == ("person", "alice", "")


def test_a_token_that_reaches_somebody_elses_server_is_not_that_server() -> None:
    with pytest.raises(Forbidden) as refused:
        identity_of(model("access:servers!server=bob/"), True)
    assert refused.value.code == "no_role"


def test_a_token_of_two_servers_is_neither() -> None:
    with pytest.raises(Forbidden):
        identity_of(model("access:servers!server=alice/", "access:servers!server=alice/gpu"), True)


def test_a_user_whose_name_begins_alike_is_another() -> None:
    with pytest.raises(Forbidden):
        identity_of(model("access:servers!server=alice2/"), True)


def test_a_token_without_access_is_refused() -> None:
    with pytest.raises(Forbidden) as refused:
        identity_of(model(PERSON_SCOPE), set())
    assert refused.value.code == "no_access"


def test_a_service_is_no_user() -> None:
    with pytest.raises(Forbidden) as refused:
        identity_of(model(PERSON_SCOPE, kind="service"), True)
    assert refused.value.code == "user_required"


def test_the_authenticator_may_know_a_name_for_people() -> None:
    told = model(PERSON_SCOPE, admin=True, user_info={"display_name": "Alice A."})
    assert identity_of(told, True).display_name == "Alice A."
    assert identity_of(told, True).admin
    assert identity_of(model(PERSON_SCOPE, user_info=None), True).display_name == ""
