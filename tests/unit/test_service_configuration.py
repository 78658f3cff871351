"""`configure(c)` adds to what an operator has set, asks for least privilege, and says what is missing."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from jupyterhub.app import JupyterHub
from jupyterhub.spawner import LocalProcessSpawner
from traitlets.config import Config

from jupyter_rtc_amprenta.core.errors import ConfigurationError
from jupyterhub_service import configure
from jupyterhub_service.configuration import PERSON_SCOPE

DATABASE = "postgresql://rtc:secret@db/rtc"
ACCESS = "access:services!service=rtc"


def configured(c: Config | None = None, **options: Any) -> Config:
    c = c or Config()
    options = {"database_url": DATABASE, "environ": {}} | options
    configure(c, **options)
    return c


def hub(c: Config) -> JupyterHub:
    """What the Hub makes of it: its traits validate, and lazy values become real ones."""
    return JupyterHub(config=c)


def spawner(c: Config) -> LocalProcessSpawner:
    return LocalProcessSpawner(config=c)


def test_configure_imports_neither_tornado_nor_a_database_driver() -> None:
    code = "import sys, jupyterhub_service; print({'tornado', 'sqlalchemy', 'jupyterhub'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_an_empty_configuration_gets_a_managed_service() -> None:
    (service,) = hub(configured()).services
    assert service["command"] == [sys.executable, "-m", "jupyterhub_service"]
    assert service["environment"]["RTC_DATABASE_URL"] == DATABASE
    assert service["environment"]["YJS_SERVER_URL"] == "ws://127.0.0.1:1234"
    assert service["oauth_client_allowed_scopes"] == [PERSON_SCOPE]


def test_users_may_reach_it_and_are_persons() -> None:
    app = hub(configured())
    assert app.extra_user_scopes == {ACCESS, PERSON_SCOPE}
    assert app.custom_scopes[PERSON_SCOPE]["description"]


def test_the_service_itself_may_only_look_up_names() -> None:
    (role,) = hub(configured()).load_roles
    assert (role["services"], role["scopes"]) == (["rtc"], ["read:users:name"])


def test_it_may_list_the_users_where_the_operator_lets_them_find_each_other() -> None:
    (role,) = hub(configured(environ={"RTC_SEARCH_USERS": "true"})).load_roles
    assert role["scopes"] == ["read:users:name", "list:users"]


def test_a_server_is_told_where_the_service_is_and_gets_no_secret() -> None:
    server = spawner(configured(service_url="http://hub:10101"))
    assert server.environment == {
        "RTC_API_URL": "http://hub:10101",
        "JUPYTER_COLLABORATION_YJS_URL": "ws://hub:1234",
        "RTC_PAGE_URL": "/services/rtc/",
    }


def test_a_server_is_told_where_the_page_is() -> None:
    c = Config()
    c.JupyterHub.base_url = "/jupyter"
    assert spawner(configured(c, service_name="work")).environment["RTC_PAGE_URL"] == "/jupyter/services/work/"
    told = spawner(configured(hub_public_url="https://hub.example.org")).environment["RTC_PAGE_URL"]
    assert told == "https://hub.example.org/services/rtc/"
    own = {"RTC_PAGE_URL": "https://rtc.hub.example.org/services/rtc/"}
    assert spawner(configured(environ=own)).environment["RTC_PAGE_URL"] == own["RTC_PAGE_URL"]


def test_a_server_speaks_for_its_owner_and_its_page_for_the_visitor() -> None:
    server = spawner(configured())
    assert server.server_token_scopes == ["users:activity!user", "access:servers!server", ACCESS]
    assert server.oauth_client_allowed_scopes == [ACCESS, PERSON_SCOPE]


def test_what_the_operator_has_set_stays() -> None:
    c = Config()
    c.JupyterHub.services = [{"name": "culler"}]
    c.JupyterHub.load_roles = [{"name": "teacher", "scopes": ["list:users"]}]
    c.JupyterHub.extra_user_scopes = {"list:users"}
    c.JupyterHub.custom_scopes = {"custom:mine:x": {"description": "x"}}
    c.Spawner.environment = {"A": "1", "JUPYTER_COLLABORATION_YJS_URL": "ws://mine:1"}
    c.Spawner.oauth_client_allowed_scopes = ["read:users"]
    c.Spawner.server_token_scopes = ["users:activity!user", "read:groups"]
    configured(c)
    app, server = hub(c), spawner(c)
    assert [service["name"] for service in app.services] == ["culler", "rtc"]
    assert [role["name"] for role in app.load_roles] == ["teacher", "service-rtc"]
    assert app.extra_user_scopes == {"list:users", ACCESS, PERSON_SCOPE}
    assert set(app.custom_scopes) == {"custom:mine:x", PERSON_SCOPE}
    assert server.environment["A"] == "1"
    assert server.environment["JUPYTER_COLLABORATION_YJS_URL"] == "ws://mine:1"
    assert server.oauth_client_allowed_scopes == ["read:users", ACCESS, PERSON_SCOPE]
    assert server.server_token_scopes == [
        "users:activity!user", "read:groups", ACCESS, "access:servers!server",
    ]  # fmt: skip


def test_a_spawner_class_of_its_own_section_is_extended_too() -> None:
    c = Config()
    c.LocalProcessSpawner.environment = {"API_URL": "http://host.docker.internal:8000"}
    c.LocalProcessSpawner.server_token_scopes = ["users:activity!user"]
    server = spawner(configured(c))
    ours = {"RTC_API_URL", "RTC_PAGE_URL", "JUPYTER_COLLABORATION_YJS_URL"}
    assert set(server.environment) == {"API_URL", *ours}
    assert server.server_token_scopes == ["users:activity!user", ACCESS, "access:servers!server"]


def test_environment_values_that_are_functions_stay() -> None:
    c = Config()
    c.Spawner.environment = {"WHO": lambda spawner: "me"}
    assert callable(spawner(configured(c)).environment["WHO"])


@pytest.mark.anyio
async def test_scopes_that_are_a_function_are_extended_by_a_function() -> None:
    c = Config()
    c.Spawner.server_token_scopes = lambda spawner: ["users:activity!user", ACCESS]
    more = spawner(configured(c)).server_token_scopes
    assert await more(None) == ["users:activity!user", ACCESS, "access:servers!server"]


def test_a_role_user_of_the_operators_own_is_extended() -> None:
    c = Config()
    c.JupyterHub.load_roles = [{"name": "user", "scopes": ["self"]}]
    app = hub(configured(c))
    assert app.load_roles[0]["scopes"] == ["self", ACCESS, PERSON_SCOPE]
    assert not app.extra_user_scopes


def test_a_role_server_of_the_operators_own_counts() -> None:
    c = Config()
    c.JupyterHub.load_roles = [{"name": "server", "scopes": ["users:activity!user", "read:groups"]}]
    assert "read:groups" in spawner(configured(c)).server_token_scopes


def test_the_hubs_environment_is_handed_on() -> None:
    environ = {"PGHOST": "db", "PGSSLMODE": "require", "RTC_INVITE_SECONDS": "60", "HOME": "/root"}
    environment = configure(Config(), environ=environ)
    assert environment["PGSSLMODE"] == "require"
    assert environment["RTC_INVITE_SECONDS"] == "60"
    assert "HOME" not in environment


def test_an_external_service_is_not_started() -> None:
    (service,) = hub(configured(api_token="0123456789", database_url=None)).services
    assert service["api_token"] == "0123456789"
    assert "command" not in service
    assert "environment" not in service


def test_a_yjs_server_apart() -> None:
    c = configured(yjs_in_service=False, yjs_server_url="wss://yjs.example.org/")
    assert hub(c).services[0]["environment"]["RTC_YJS_IN_SERVICE"] == "false"
    assert spawner(c).environment["JUPYTER_COLLABORATION_YJS_URL"] == "wss://yjs.example.org"


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"database_url": None}, "RTC_DATABASE_URL"),
        ({"yjs_port": 0}, "YJS_SERVER_PORT"),
        ({"yjs_server_url": "http://yjs"}, "ws://"),
    ],
)
def test_what_is_wrong_is_said(options: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigurationError, match=word):
        configured(**options)


def test_two_services_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="rtc already"):
        configured(configured())


def test_servers_must_not_inherit_all_that_their_owner_may() -> None:
    c = Config()
    c.Spawner.server_token_scopes = ["inherit"]
    with pytest.raises(ConfigurationError, match="inherit"):
        configured(c)
