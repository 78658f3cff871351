"""Every environment variable: its default, what a wrong value is told, which wins, and that something reads it."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from traitlets import HasTraits
from traitlets.config import Config

import jupyter_rtc_amprenta
import jupyterhub_service
from jupyter_rtc_amprenta.app import RtcExtension
from jupyter_rtc_amprenta.core import settings
from jupyter_rtc_amprenta.core.database import parse_url
from jupyter_rtc_amprenta.core.errors import ConfigurationError
from jupyter_rtc_amprenta.core.settings import VARIABLES, Settings, Variable, read, service_database_url
from jupyter_rtc_amprenta.core.traits import settings_of, trait
from jupyter_rtc_amprenta.ystore import PostgresYStore
from jupyterhub_service.app import RtcService

DEFAULTS = {
    "RTC_DATABASE_URL": "",
    "JUPYTER_COLLABORATION_YJS_URL": "",
    "YJS_SERVER_URL": "ws://yjs-server:1234",
    "YJS_SERVER_HOST": "0.0.0.0",
    "YJS_SERVER_PORT": 1234,
    "RTC_YJS_IN_SERVICE": True,
    "RTC_API_URL": "",
    "API_URL": "",
    "RTC_HUB_URL": "",
    "RTC_PAGE_URL": "",
    "REDIS_URL": "",
    "RTC_SIGNING_KEY": "",
    "RTC_LOCAL_STORE": "",
    "RTC_SHARED_FOLDER": "Shared with me",
    "RTC_SHARED_VOLUMES": "",
    "RTC_ONE_SERVER_PER_HOME": True,
    "RTC_MAX_MESSAGE_BYTES": 67108864,
    "RTC_MAX_DOCUMENT_BYTES": 104857600,
    "RTC_MAX_CONNECTIONS_PER_USER": 100,
    "RTC_MAX_CONNECTIONS_PER_DOCUMENT": 500,
    "RTC_MAX_MESSAGES_PER_SECOND": 200,
    "RTC_MAX_PENDING_BYTES": 268435456,
    "RTC_ENCRYPTION_KEYS": "",
    "RTC_HISTORY_SECONDS": 604800.0,
    "RTC_HISTORY_UPDATES": 10000,
    "RTC_VERSION_SECONDS": 3600.0,
    "RTC_AUTOMATIC_VERSIONS": 24,
    "RTC_LEASE_SECONDS": 30.0,
    "RTC_SPOOL_FOLDER": "",
    "RTC_INVITE_SECONDS": 86400.0,
    "RTC_MAX_REQUESTS_PER_MINUTE": 600,
    "RTC_CORS_ORIGINS": "",
    "RTC_SEARCH_USERS": False,
    "RTC_LONGEST_INVITE_SECONDS": 2592000.0,
    "RTC_JWT_ISSUERS": "",
    "RTC_WEBHOOK_URLS": "",
    "RTC_WEBHOOK_SECRET": "",
    "RTC_AUDIT_DAYS": 365,
    "RTC_ACTIVITY_DAYS": 365,
    "RTC_TOKEN_SECONDS": 600.0,
    "RTC_HEARTBEAT_SECONDS": 15.0,
    "RTC_OPEN_TIMEOUT": 5.0,
}

# By what the default is or what parses it: a value that is taken, what it becomes, and values that are not.
FORMS: dict[str, tuple[str, Any, list[str]]] = {
    "_text": ("  some text ", "some text", []),
    "_count": (" 12 ", 12, ["-1", "1.5", "many", "1k"]),
    "_port": ("8080", 8080, ["0", "65536", "-1", "http"]),
    "_seconds": ("2.5", 2.5, ["0", "-1", "nan", "inf", "soon", "5s"]),
    "_http_urls": ("https://a.org/x, http://b", "https://a.org/x http://b", ["a.org", "ftp://a.org"]),
    "_origins": (
        "https://a.org, http://b:80",
        "https://a.org http://b:80",
        ["a.org", "*", "https://a.org/path", "null"],
    ),
    "checked": (
        ' {"team": {"path": "/srv/team", "groups": ["team"]}} ',
        '{"team": {"path": "/srv/team", "groups": ["team"]}}',
        ["team=/srv/team", "[]", '{"a/b": {}}', '{"a": {"path": "srv"}}', '{"a": {"groups": "a"}}', '{"a": {"x": 1}}'],
    ),
    "_flag": ("No", False, ["2", "on?", "y"]),
    "_websocket_url": ("wss://yjs.example.org/", "wss://yjs.example.org", ["http://yjs:1234", "yjs:1234", "1234"]),
    "_http_url": ("https://hub.example.org/services/rtc/", "https://hub.example.org/services/rtc", ["hub", "ws://hub"]),
}  # fmt: skip

each_variable = pytest.mark.parametrize("variable", VARIABLES, ids=lambda variable: variable.name)


# --- the table ---


def test_the_defaults_are_the_documented_ones() -> None:
    assert {variable.name: variable.default for variable in VARIABLES} == DEFAULTS
    assert dataclasses.asdict(read({})) == {v.field: DEFAULTS[v.name] for v in VARIABLES}


def test_settings_have_exactly_the_variables_fields_with_their_types() -> None:
    fields = {field.name: field.type for field in dataclasses.fields(Settings)}
    assert fields == {variable.field: type(variable.default).__name__ for variable in VARIABLES}


def test_names_are_the_references_or_begin_with_rtc() -> None:
    names = [variable.name for variable in VARIABLES]
    assert len(set(names)) == len(names)
    assert {name for name in names if not name.startswith("RTC_")} == {
        "YJS_SERVER_URL", "YJS_SERVER_HOST", "YJS_SERVER_PORT", "JUPYTER_COLLABORATION_YJS_URL", "API_URL", "REDIS_URL",
    }  # fmt: skip


@each_variable
def test_a_variable_says_what_it_means(variable: Variable) -> None:
    assert variable.help.endswith(".")
    assert "0: none" in variable.help or not variable.name.startswith("RTC_MAX_")


@each_variable
def test_a_variable_is_taken_from_the_environment(variable: Variable) -> None:
    text, value, _ = FORMS[variable.parse.__name__]
    if variable.default is False:
        text, value = "Yes", True
    changed = read({variable.name: text})
    assert getattr(changed, variable.field) == value != variable.default
    assert dataclasses.replace(changed, **{variable.field: variable.default}) == read({})


@each_variable
def test_an_empty_variable_is_one_that_is_not_set(variable: Variable) -> None:
    assert read({variable.name: ""}) == read({variable.name: " \n"}) == read({})


WRONG = [(v, text) for v in VARIABLES for text in FORMS[v.parse.__name__][2]]


@pytest.mark.parametrize(("variable", "text"), WRONG, ids=[f"{v.name}={text}" for v, text in WRONG])
def test_a_value_that_cannot_be_understood_is_refused_by_the_variables_name(
    variable: Variable, text: str
) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        read({variable.name: text})
    assert variable.name in str(refusal.value) and text in str(refusal.value)
    assert variable.help in str(refusal.value)


@pytest.mark.parametrize("text", ["1", "true", "True", "YES", "0", "false", "No"])
def test_a_flag_is_written_in_several_ways(text: str) -> None:
    assert read({"RTC_YJS_IN_SERVICE": text}).yjs_in_service is (text.lower() in ("1", "true", "yes"))


def test_a_limit_of_zero_is_taken_and_means_none() -> None:
    limits = [variable for variable in VARIABLES if variable.name.startswith("RTC_MAX_")]
    assert len(limits) == 7
    zeros = read({variable.name: "0" for variable in limits})
    assert {getattr(zeros, variable.field) for variable in limits} == {0}


def test_what_is_known_already_wins_over_the_environment() -> None:
    assert read({"YJS_SERVER_PORT": "99"}, yjs_server_port=7).yjs_server_port == 7


def test_the_services_url_is_the_extensions_own_or_else_the_platforms() -> None:
    assert read({}).service_url == ""
    assert read({"API_URL": "http://platform:8000"}).service_url == "http://platform:8000"
    both = {"API_URL": "http://platform:8000", "RTC_API_URL": "http://hub/services/rtc"}
    assert read(both).service_url == "http://hub/services/rtc"


# --- the database: of the service, and of the extension ---


def database(**environ: str) -> tuple[Any, ...]:
    """What psycopg2 is asked to connect to."""
    url = parse_url(service_database_url(environ))
    asked = url.get_dialect()().create_connect_args(url)[1]
    return tuple(asked.get(name) for name in ("host", "port", "dbname", "user", "password"))


PG = {"PGHOST": "pg", "PGPORT": "1", "PGDATABASE": "pgdb", "PGUSER": "pguser", "PGPASSWORD": "pgsecret"}
POSTGRES = {
    "POSTGRES_HOST": "compose", "POSTGRES_PORT": "2", "POSTGRES_DB": "db", "POSTGRES_USER": "user",
    "POSTGRES_PASSWORD": "secret",
}  # fmt: skip


def test_the_url_wins_over_pg_which_wins_over_postgres() -> None:
    url = "postgresql://rtc@elsewhere/rtc"
    assert service_database_url({"RTC_DATABASE_URL": f" {url} "} | PG | POSTGRES) == url
    assert database(**PG, **POSTGRES) == ("pg", 1, "pgdb", "pguser", "pgsecret")
    assert database(**POSTGRES) == ("compose", 2, "db", "user", "secret")
    assert database(PGHOST="pg", **POSTGRES) == ("pg", 2, "db", "user", "secret")


def test_what_is_not_said_of_the_database_is_the_references_default() -> None:
    assert database(PGHOST="pg") == ("pg", 5432, "amprenta", "postgres", None)
    assert database(POSTGRES_PASSWORD="postgres") == ("localhost", 5432, "amprenta", "postgres", "postgres")
    assert database(PGHOST="pg", PGUSER="") == ("pg", 5432, "amprenta", "postgres", None)


@pytest.mark.parametrize(
    ("name", "value", "place"),
    [
        ("PGPASSWORD", "p@:/?#[]%&=+ ü'\"\\", 4),
        ("PGPASSWORD", " with blanks ", 4),
        ("PGUSER", "me@corp:x/y", 3),
        ("PGDATABASE", "my db?x=1#y/z", 2),
        ("PGHOST", "/var/run/my postgres", 0),
        ("PGHOST", "::1", 0),
        ("PGHOST", "fe80::1%eth0", 0),
        ("PGHOST", "db-1.example.org", 0),
        ("PGHOST", "@abstract", 0),
        ("PGHOST", "one,two", 0),
    ],
)
def test_any_character_reaches_the_database_as_it_is(name: str, value: str, place: int) -> None:
    asked = database(**{"PGHOST": "pg", name: value})
    assert asked[place] == value
    assert str(asked[1]) in ("5432", "5432,5432")


def test_several_hosts_have_their_ports() -> None:
    assert database(PGHOST="one,two", PGPORT="1,2")[:2] == ("one,two", "1,2")
    assert database(PGHOST="one,two", PGPORT="7")[:2] == ("one,two", "7,7")


def test_a_port_that_is_none_is_refused_by_its_name() -> None:
    for port in ("abc", "5432 ", "-1", "1,", "5 4"):
        with pytest.raises(ConfigurationError, match="PGPORT"):
            service_database_url({"PGHOST": "pg", "PGPORT": port})


def test_without_any_the_refusal_says_what_to_set() -> None:
    for environ in ({}, {"RTC_DATABASE_URL": " "}, {"PGSSLMODE": "require", "PGHOST": ""}):
        with pytest.raises(ConfigurationError, match="RTC_DATABASE_URL") as refusal:
            service_database_url(environ)
        assert "PGHOST" in str(refusal.value)


def test_a_researchers_own_pg_variables_never_choose_the_extensions_mode() -> None:
    assert read(PG | POSTGRES) == read({})


@pytest.mark.anyio
async def test_a_store_takes_no_researchers_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RTC_DATABASE_URL", raising=False)
    for name, value in (PG | POSTGRES).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match="RTC_DATABASE_URL"):
        await PostgresYStore(".notebook:1.y").write(b"x")


# --- the variables as traits ---


def test_each_new_variable_can_be_configured_too_with_the_same_words() -> None:
    extension, service = RtcExtension.class_traits(config=True), RtcService.class_traits(config=True)
    for variable in VARIABLES:
        found = extension.get(variable.field) or service.get(variable.field)
        if found is None:
            assert not variable.name.startswith("RTC_"), f"{variable.name} is no trait"
            continue
        assert variable.help in found.help and f"${variable.name}" in found.help


class Configured(HasTraits):
    """Has some of the traits, as the applications do."""

    yjs_server_port = trait("yjs_server_port")
    database_url = trait("database_url")
    yjs_in_service = trait("yjs_in_service")


def test_a_trait_wins_over_the_environment_only_when_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YJS_SERVER_PORT", "99")
    monkeypatch.setenv("RTC_DATABASE_URL", "postgresql://environment")
    fields = ("yjs_server_port", "database_url", "yjs_in_service")
    assert settings_of(Configured(), fields).yjs_server_port == 99
    told = settings_of(Configured(yjs_server_port=7, database_url="", yjs_in_service=False), fields)
    assert (told.yjs_server_port, told.database_url, told.yjs_in_service) == (7, "", False)


def test_a_configuration_file_reaches_the_service() -> None:
    service = RtcService(config=Config({"RtcService": {"max_message_bytes": 5}}))
    assert settings_of(service, ["max_message_bytes"]).max_message_bytes == 5


# --- no option that nothing reads ---


def _reads(package: Any) -> set[str]:
    """The settings that a package's code reads: attributes of what is called settings, or was just read."""
    found = set()
    for path in Path(package.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Load)
                and _is_settings(node.value)
            ):
                found.add(node.attr)
    return found


def _is_settings(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        called = value.func
        return isinstance(called, ast.Attribute | ast.Name) and _name(called) in ("read", "settings_of")
    return isinstance(value, ast.Attribute | ast.Name) and _name(value) in ("settings", "_settings", "chosen")


def _name(node: ast.Attribute | ast.Name) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id


READ = _reads(jupyter_rtc_amprenta) | _reads(jupyterhub_service)
if "service_url" in READ:
    READ |= {"rtc_api_url", "api_url"}


@each_variable
def test_something_reads_it(variable: Variable) -> None:
    assert variable.field in READ, f"{variable.name} is an option that nothing reads"


def test_this_test_sees_what_is_read() -> None:
    assert settings.read({}).__class__ is Settings
    assert {"collaboration_yjs_url", "max_message_bytes", "token_seconds", "service_url"} <= READ
