"""A database URL in libpq's or SQLAlchemy's form: what psycopg2 is asked for is what was meant."""

from __future__ import annotations

import traceback
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg2.extensions import make_dsn

from jupyter_rtc_amprenta.core.database import Database, parse_url
from jupyter_rtc_amprenta.core.errors import ConfigurationError


def asked(text: str) -> dict[str, Any]:
    """What psycopg2 is asked to connect to."""
    url = parse_url(text)
    assert url.drivername == "postgresql+psycopg2"
    return {name: str(value) for name, value in url.get_dialect()().create_connect_args(url)[1].items()}


FULL = {"host": "db", "port": "5433", "dbname": "rtc", "user": "me", "password": "secret"}


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me:secret@db:5433/rtc",
        "postgres://me:secret@db:5433/rtc",
        "postgresql+psycopg2://me:secret@db:5433/rtc",
        "host=db port=5433 dbname=rtc user=me password=secret",
        " password = 'secret'  user=me host='db' dbname=rtc port=5433 ",
        "postgresql://me:secret@/rtc?host=db&port=5433",
        "\npostgresql://me:secret@db:5433/rtc\n",
    ],
)
def test_one_database_in_each_form(text: str) -> None:
    assert asked(text) == FULL


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("postgresql://db/rtc", {"host": "db", "dbname": "rtc"}),
        ("postgresql://me@db", {"host": "db", "user": "me"}),
        ("dbname=rtc", {"dbname": "rtc"}),
        ("service=rtc", {"service": "rtc"}),
        ("postgresql://db/my%20db", {"host": "db", "dbname": "my db"}),
        ("postgresql://[::1]:5433/rtc", {"host": "::1", "port": "5433", "dbname": "rtc"}),
        (
            "postgresql://db/rtc?sslmode=verify-full&sslrootcert=/etc/ca.pem&application_name=a%20b",
            {
                "host": "db",
                "dbname": "rtc",
                "sslmode": "verify-full",
                "sslrootcert": "/etc/ca.pem",
                "application_name": "a b",
            },
        ),
        ("host=db dbname=rtc sslmode=require", {"host": "db", "dbname": "rtc", "sslmode": "require"}),
    ],
)
def test_what_is_not_said_is_left_to_libpq_and_options_go_along(text: str, meant: dict[str, str]) -> None:
    assert asked(text) == meant


@pytest.mark.parametrize(
    "text",
    [
        "postgresql:///rtc?host=/run/my%20pg&port=5433&user=me",
        "postgresql://me@%2Frun%2Fmy%20pg:5433/rtc",
        "postgres://me@%2frun%2fmy%20pg:5433/rtc",
        "host='/run/my pg' port=5433 dbname=rtc user=me",
        "postgresql+psycopg2://me@/rtc?host=/run/my%20pg&port=5433",
    ],
)
def test_a_sockets_folder_in_each_form(text: str) -> None:
    assert asked(text) == {"host": "/run/my pg", "port": "5433", "dbname": "rtc", "user": "me"}


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me@one:1,two:2/rtc?target_session_attrs=read-write",
        "host=one,two port=1,2 dbname=rtc user=me target_session_attrs=read-write",
        "postgresql+psycopg2://me@/rtc?host=one:1&host=two:2&target_session_attrs=read-write",
    ],
)
def test_several_hosts_in_each_form(text: str) -> None:
    meant = {"host": "one,two", "port": "1,2", "dbname": "rtc", "user": "me"}
    assert asked(text) == meant | {"target_session_attrs": "read-write"}


def test_several_hosts_may_share_a_port_or_have_none() -> None:
    assert asked("host=one,two port=7 dbname=rtc") == {"host": "one,two", "port": "7", "dbname": "rtc"}
    assert asked("postgresql://one,two/rtc")["host"] == "one,two"


# What a password manager makes. NUL can't be in a connection string.
secrets = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=12
)


@given(secrets)
def test_any_password_is_read_back_from_a_url(password: str) -> None:
    for host in ("db", "one,two", "%2Frun%2Fpg"):
        found = asked(f"postgresql://{quote(password, safe='')}:{quote(password, safe='')}@{host}/rtc")
        assert (found["user"], found["password"]) == (password, password)


@given(secrets)
def test_any_password_is_read_back_from_keywords(password: str) -> None:
    assert asked(make_dsn(host="db", password=password, user=password)) == {
        "host": "db",
        "password": password,
        "user": password,
    }


@pytest.mark.parametrize("password", ["p@ss", "p:q", "a%zz", "100%", "a+b", "a://b"])
def test_a_password_that_was_not_quoted_is_taken_as_far_as_it_can_be(password: str) -> None:
    found = asked(f"host=db password='{password}'")
    assert found["password"] == password
    if "@" not in password and "/" not in password:
        assert asked(f"postgresql://me:{password}@db/rtc")["password"] == password


@pytest.mark.parametrize("text", ["sqlite:////tmp/x.db", "sqlite+pysqlite:////tmp/x.db"])
def test_a_local_store_is_sqlite(text: str) -> None:
    url = parse_url(text)
    assert (url.get_backend_name(), url.database) == ("sqlite", "/tmp/x.db")


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "db:5432", "postgresql", "://", "postgresql://db:port/rtc", "postgresql://u@::1:5432/db",
        "host=db nonsense=1", "host='unclosed", "host=db port=abc", "mysql://db/rtc", "postgresql+psycopg://db/rtc",
        "postgresql+asyncpg://db/rtc", "https://db/rtc", "sqlite+aiosqlite:///x", "postgresql://me:geheim@db:x,two:y/rtc",
    ],
)  # fmt: skip
def test_what_is_no_such_url_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigurationError, match="postgresql://"):
        parse_url(text)


def test_a_refusal_tells_no_password() -> None:
    for text in (
        "postgresql://me:geheim@db:x/rtc", "mysql://me:geheim@db/rtc", "host=db password=geheim x=1", "geheim",
        "postgresql://me:geheim@db:1,two:x%/rtc",
    ):  # fmt: skip
        with pytest.raises(ConfigurationError) as refusal:
            Database(text)
        assert "geheim" not in "".join(traceback.format_exception(refusal.value))


def test_a_database_shows_no_password() -> None:
    database = Database("postgresql://me:geheim@localhost:1/rtc")
    try:
        assert "geheim" not in repr(database.url) + str(database.url) + repr(database.engine)
    finally:
        database.close()


@given(st.text(max_size=30))
def test_whatever_is_given_is_understood_or_refused(text: str) -> None:
    try:
        parse_url(text)
    except ConfigurationError as refusal:
        assert str(refusal)
