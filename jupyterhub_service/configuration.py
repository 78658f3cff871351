"""`configure(c)`: what an operator calls in `jupyterhub_config.py`, and where every scope is explained.

It is called last, since it adds to what is already set: lists and dictionaries are extended, never replaced, and
a variable that the operator has given to the servers stays as it is.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

from traitlets.config import Config

from jupyter_rtc_amprenta.core import volumes
from jupyter_rtc_amprenta.core.errors import ConfigurationError
from jupyter_rtc_amprenta.core.settings import VARIABLES, Settings, read, service_database_url

from .config_values import add_to_dict, add_to_list, add_to_scopes, add_to_set, is_set, listed

# Who holds it is a person: every user, and so their API tokens, the page of a server that they visit and the
# service's own cookie. A server's token does not: anyone who runs code on that server can read it.
PERSON_SCOPE = "custom:rtc:person"
_PERSON_DESCRIPTION = "Decide on collaboration sessions as yourself: invite, accept, leave, delete"


def configure(
    c: Config,
    *,
    database_url: str | None = None,
    service_name: str = "rtc",
    service_url: str = "http://127.0.0.1:10101",
    api_url: str | None = None,
    hub_public_url: str | None = None,
    yjs_host: str | None = None,
    yjs_port: int | None = None,
    yjs_server_url: str | None = None,
    yjs_in_service: bool = True,
    signing_key: str | None = None,
    shared_volumes: Mapping[str, Mapping[str, Any]] | None = None,
    command: Sequence[str] | None = None,
    api_token: str | None = None,
    extra_environment: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Register the service at the Hub, and tell every user's server where to find it. Call it last.

    What is not given comes from the variables of the Hub's own environment (`core/settings.py`).

    Args:
        c: the Hub's configuration object.
        database_url: PostgreSQL; goes to the service alone, never to a user's server.
        service_name: under which the proxy has it: `/services/<service_name>/`.
        service_url: where the service listens; the proxy and the users' servers must reach it.
        api_url: where users' servers reach the service; by default straight at `service_url`.
        hub_public_url: the Hub as browsers see it, such as `https://hub.example.org`; without it, links are relative.
        yjs_host: the address the Y.js server binds to.
        yjs_port: the port it listens on.
        yjs_server_url: where users' servers and other clients reach it, such as `ws://hub:1234`.
        yjs_in_service: whether the service runs the Y.js server in its own process.
        signing_key: Ed25519, PEM; without it one is kept in the database.
        shared_volumes: what several users' servers have mounted: name to its `path` there and the Hub's `groups` that
            may enter, such as `{"team": {"path": "/srv/shared/team", "groups": ["team"]}}`.
        command: what the Hub runs; by default this package, with the Hub's own Python.
        api_token: of a service that something else runs: given without `command`, the Hub starts nothing.
        extra_environment: more variables for the service; they win.
        environ: the Hub's environment; `os.environ` where none is given.

    Returns:
        the service's environment; whoever runs the service apart from the Hub gives it to it.

    Raises:
        ConfigurationError: something is missing or contradicts what is configured already.
    """
    environment = _environment(
        os.environ if environ is None else environ,
        service_url,
        {
            "RTC_DATABASE_URL": database_url,
            "RTC_HUB_URL": hub_public_url,
            "RTC_SHARED_VOLUMES": None if shared_volumes is None else json.dumps(shared_volumes),
            "RTC_SIGNING_KEY": signing_key,
            "RTC_YJS_IN_SERVICE": str(yjs_in_service).lower(),
            "YJS_SERVER_HOST": yjs_host,
            "YJS_SERVER_PORT": yjs_port,
            "YJS_SERVER_URL": yjs_server_url,
        },
        extra_environment or {},
    )
    settings = read(environment)
    service: dict[str, Any] = {"name": service_name, "url": service_url}
    if api_token is not None:
        service["api_token"] = api_token
    if command is not None or api_token is None:
        # What is missing is better said now than by a service that ends, and takes the Hub with it.
        service_database_url(environment)
        service["command"] = list(command or (sys.executable, "-m", "jupyterhub_service"))
        service["environment"] = environment
    _register_service(c, service)
    _grant_scopes(c, service_name, settings)
    _prepare_servers(c, service_name, settings, (api_url or service_url).rstrip("/"))
    return environment


def _environment(
    environ: Mapping[str, str], service_url: str, given: dict[str, Any], extra: Mapping[str, str]
) -> dict[str, str]:
    # The Hub starts a service in a clean environment: what is ours must be handed on, libpq's PGSSLMODE too.
    ours = {variable.name for variable in VARIABLES}
    environment = {
        name: value
        for name, value in environ.items()
        if value and (name in ours or name.startswith(("PG", "POSTGRES_")))
    }
    environment |= {name: str(value) for name, value in given.items() if value is not None}
    environment |= extra
    if environment["RTC_YJS_IN_SERVICE"] == "true" and "YJS_SERVER_URL" not in environment:
        port = environment.get("YJS_SERVER_PORT", "1234")
        environment["YJS_SERVER_URL"] = f"ws://{urlsplit(service_url).hostname}:{port}"
    return environment


def _register_service(c: Config, service: dict[str, Any]) -> None:
    if any(other.get("name") == service["name"] for other in listed(c.JupyterHub, "services")):
        raise ConfigurationError(f"c.JupyterHub.services has a service {service['name']} already.")
    service |= {
        "oauth_no_confirm": True,
        "oauth_client_allowed_scopes": [PERSON_SCOPE],
        # In the Hub's menu.
        "display": True,
    }
    add_to_list(c.JupyterHub, "services", [service])


def _grant_scopes(c: Config, service_name: str, settings: Settings) -> None:
    add_to_dict(c.JupyterHub, "custom_scopes", {PERSON_SCOPE: {"description": _PERSON_DESCRIPTION}})
    more = ["list:users"] if settings.search_users else []
    more += ["read:users:groups"] if settings.shared_volumes else []
    role = {
        "name": f"service-{service_name.lower()}",
        "description": "Look up whether an invited user exists, and who may enter a shared volume",
        # One user at a time: the list of all is for whom the operator wants to find each other.
        "scopes": ["read:users:name", *more],
        "services": [service_name],
    }
    add_to_list(c.JupyterHub, "load_roles", [role])
    _grant_to_users(c, [_access(service_name), PERSON_SCOPE])


def _grant_to_users(c: Config, scopes: list[str]) -> None:
    """Add to what the role `user` holds, in whichever of the Hub's ways is in force."""
    user = next((role for role in listed(c.JupyterHub, "load_roles") if role.get("name") == "user"), None)
    if user is not None and "scopes" in user:
        # Beside it the Hub ignores `extra_user_scopes`.
        user["scopes"] = [*user["scopes"], *scopes]
    elif int(version("jupyterhub").partition(".")[0]) >= 6:
        add_to_set(c.JupyterHub, "extra_user_scopes", scopes)
    elif user is not None:
        user["scopes"] = ["self", *scopes]
    else:
        add_to_list(c.JupyterHub, "load_roles", [{"name": "user", "scopes": ["self", *scopes]}])


def _prepare_servers(c: Config, service_name: str, settings: Settings, api_url: str) -> None:
    access = _access(service_name)
    environment = {
        "JUPYTER_COLLABORATION_YJS_URL": settings.yjs_server_url,
        "RTC_API_URL": api_url,
        "RTC_PAGE_URL": settings.page_url or _page_url(c, service_name, settings),
    }
    if settings.shared_volumes:
        environment["RTC_SHARED_VOLUMES"] = volumes.for_servers(settings.shared_volumes)
    if is_set(c.JupyterHub, "allow_named_servers") and c.JupyterHub.allow_named_servers:
        # Two servers of one user may then have the same files.
        environment["RTC_ONE_SERVER_PER_HOME"] = "false"
    # A class's own section, such as c.DockerSpawner, wins over c.Spawner: what is set there is extended too.
    own = [name for name in c if name.endswith("Spawner") and name != "Spawner"]
    for section in [c.Spawner, *(c[name] for name in own)]:
        general = section is c.Spawner
        if general or is_set(section, "environment"):
            add_to_dict(section, "environment", environment)
        if general or is_set(section, "oauth_client_allowed_scopes"):
            # A server's page speaks for its visitor.
            add_to_scopes(section, "oauth_client_allowed_scopes", [access, PERSON_SCOPE], [])
        if general or is_set(section, "server_token_scopes"):
            # The server itself speaks for its owner, to register, link and report. By the second scope it is known.
            scopes = [access, "access:servers!server"]
            add_to_scopes(section, "server_token_scopes", scopes, _server_role(c))
            if not callable(section.server_token_scopes) and "inherit" in section.server_token_scopes:
                raise ConfigurationError(
                    "server_token_scopes has 'inherit': any code on a user's server could then invite and delete as "
                    "that user. List the scopes that servers need instead."
                )


def _page_url(c: Config, service_name: str, settings: Settings) -> str:
    """The page as browsers see it. With subdomains, which give it a host of its own, RTC_PAGE_URL tells."""
    base_url = f"/{c.JupyterHub.base_url.strip('/')}/" if is_set(c.JupyterHub, "base_url") else "/"
    host = urlsplit(settings.hub_url)
    origin = f"{host.scheme}://{host.netloc}" if host.netloc else ""
    return f"{origin}{base_url.replace('//', '/')}services/{service_name}/"


def _server_role(c: Config) -> list[str]:
    """What a server's token holds where `server_token_scopes` is not set."""
    roles = (role for role in listed(c.JupyterHub, "load_roles") if role.get("name") == "server")
    scopes = next((role["scopes"] for role in roles if "scopes" in role), None)
    return scopes or ["users:activity!user", "access:servers!server"]


def _access(service_name: str) -> str:
    return f"access:services!service={service_name}"
