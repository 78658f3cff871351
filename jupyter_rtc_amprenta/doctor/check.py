"""One check, and where it is made from."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from ..core import settings
from ..core.settings import VARIABLES, Settings


@dataclass(frozen=True)
class Check:
    """What was found.

    Attributes:
        name: `area.what`.
        ok: None: it can't be found out from here, or there is nothing to find out.
        detail: what was found, or why nothing was.
        advice: what to do; "" where nothing is to be done.
    """

    name: str
    ok: bool | None
    detail: str
    advice: str = ""


class Place(StrEnum):
    """Where the doctor runs, as its environment tells."""

    SERVER = "a user's server"
    SERVICE = "the Hub's service"
    YJS_SERVER = "the Y.js server's machine"
    OPERATOR = "an operator's machine"


@dataclass(frozen=True)
class Scene:
    """What the checks look at.

    Attributes:
        environ: the environment's variables.
        given_database_url: an option; wins over the environment.
        given_hub_url: an option: the Hub as browsers see it.
        document, user: whose right is asked about; "": nobody's.
        clock: the time here, in seconds since the epoch.
    """

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    given_database_url: str = ""
    given_hub_url: str = ""
    document: str = ""
    user: str = ""
    clock: Callable[[], float] = time.time

    @property
    def place(self) -> Place:
        """Where this is: the Hub tells it to what it starts."""
        if self.environ.get("JUPYTERHUB_USER"):
            return Place.SERVER
        if self.environ.get("JUPYTERHUB_SERVICE_NAME"):
            return Place.SERVICE
        serves = self.environ.get("YJS_SERVER_HOST") or self.environ.get("YJS_SERVER_PORT")
        return Place.YJS_SERVER if serves else Place.OPERATOR

    @cached_property
    def faulty(self) -> dict[str, str]:
        """Variables that can't be understood, and what they should be."""
        found = {}
        for variable in VARIABLES:
            text = self.environ.get(variable.name, "").strip()
            try:
                if text:
                    variable.parse(text)
            except ValueError as error:
                # Python's own words on numbers repeat the value, which may be a secret in the wrong place.
                should = str(error) if str(error).startswith("must") else "must be a number"
                found[variable.name] = f"{should}. {variable.help}"
        return found

    @cached_property
    def settings(self) -> Settings:
        """The settings, with the defaults of those that can't be understood."""
        return settings.read({name: value for name, value in self.environ.items() if name not in self.faulty})

    @property
    def token(self) -> str:
        """The Hub's token of what runs here, or ""."""
        return self.environ.get("JUPYTERHUB_API_TOKEN", "")

    @property
    def hub_api_url(self) -> str:
        """The Hub's API, as it is reached from here, or ""."""
        known = self.environ.get("JUPYTERHUB_API_URL", "").rstrip("/")
        return known or (f"{self.hub_url}/hub/api" if self.hub_url else "")

    @property
    def hub_url(self) -> str:
        """The Hub as browsers see it, without `/hub`, or ""."""
        public = self.environ.get("JUPYTERHUB_PUBLIC_HUB_URL", "").rstrip("/").removesuffix("/hub")
        url = (self.given_hub_url or self.settings.hub_url or public).rstrip("/")
        base = self.environ.get("JUPYTERHUB_BASE_URL", "/").rstrip("/")
        return url if not url or url.endswith(base) else url + base

    @property
    def is_linked(self) -> bool:
        """Whether this is a user's server whose documents are the Y.js server's: it has no database, and needs none."""
        return self.place is Place.SERVER and bool(self.settings.collaboration_yjs_url)

    @property
    def has_database_url(self) -> bool:
        """Whether a URL of a database was given, right or wrong."""
        return bool(self.given_database_url or self.settings.database_url)

    @property
    def yjs_url(self) -> str:
        """The Y.js server, as it is reached from here."""
        chosen = self.settings
        if chosen.collaboration_yjs_url:
            return chosen.collaboration_yjs_url
        if self.place is Place.YJS_SERVER or (self.place is Place.SERVICE and chosen.yjs_in_service):
            return f"ws://{_here(chosen.yjs_server_host)}:{chosen.yjs_server_port}"
        return chosen.yjs_server_url

    @property
    def service_url(self) -> str:
        """The service, as it is reached from here, or ""."""
        if self.place is Place.SERVICE:
            return self.environ.get("JUPYTERHUB_SERVICE_URL", "").rstrip("/").replace("//0.0.0.0", "//127.0.0.1")
        return self.settings.service_url or self.public_service_url

    @property
    def public_service_url(self) -> str:
        """The service through the Hub's proxy, or ""."""
        name = self.environ.get("JUPYTERHUB_SERVICE_NAME", "rtc")
        return f"{self.hub_url}/services/{name}" if self.hub_url else ""


def _here(host: str) -> str:
    return "127.0.0.1" if host in ("", "0.0.0.0", "::") else host
