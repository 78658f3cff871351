"""The service's rules over a real PostgreSQL, without HTTP; the Hub is a list of names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.queries_audit import AuditFilter
from jupyter_rtc_amprenta.core.queries_presence import Present
from jupyter_rtc_amprenta.core.settings import Settings, read
from jupyter_rtc_amprenta.core.tokens import Keyring
from jupyter_rtc_amprenta.core.volumes import SharedVolume
from jupyterhub_service.admin import Admin
from jupyterhub_service.auth import Identity
from jupyterhub_service.bodies import DocumentBody, InviteBody
from jupyterhub_service.collaboration import Collaboration
from jupyterhub_service.errors import Refused
from jupyterhub_service.history import History
from jupyterhub_service.invites import Invites
from jupyterhub_service.issuers import Issuers
from jupyterhub_service.jwts import Jwts
from jupyterhub_service.links import Links
from jupyterhub_service.listing import Page
from jupyterhub_service.participants import Participants
from jupyterhub_service.presence import Presence
from jupyterhub_service.volumes import VolumeDoor


def person(name: str) -> Identity:
    return Identity(name, "person", False, "", "", by_hub=True, address="10.0.0.1")


def server(name: str, server_name: str = "") -> Identity:
    return Identity(name, "server", False, f"{name}/{server_name}", "", by_hub=True, address="10.0.0.2")


ALICE, BOB, CAROL = person("alice"), person("bob"), person("carol")
ROOT = replace(person("root"), admin=True)
FILE = DocumentBody("home", "file-1", "notebook", "work/analysis.ipynb", "Customer Data Analysis")
TO_BOB = InviteBody("bob", "Look at this", "read-write")


class KnownUsers:
    """Answers as the Hub does; bob has a name for people.

    Attributes:
        names: who there is.
        may_list: whether the service may list them.
    """

    def __init__(self) -> None:
        self.names = {"alice": "", "bob": "Bob B.", "carol": ""}
        self.may_list = False
        # Who is in which of the Hub's groups.
        self.members: dict[str, list[str]] = {}

    async def groups(self, username: str) -> list[str]:
        return self.members.get(username, [])

    async def display_name(self, username: str) -> str | None:
        return self.names.get(username)

    async def search(self, name: str, limit: int) -> list[tuple[str, str]] | None:
        found = [(known, display) for known, display in self.names.items() if name in known]
        return found[:limit] if self.may_list else None


@dataclass
class Rtc:
    database: Database
    settings: Settings
    keyring: Keyring
    collaboration: Collaboration
    participants: Participants
    invites: Invites
    links: Links
    presence: Presence
    admin: Admin
    history: History
    jwts: Jwts
    hub: KnownUsers

    @classmethod
    def over(cls, database: Database, keyring: Keyring) -> Rtc:
        """The rules as the service wires them."""
        settings = read({"YJS_SERVER_URL": "ws://yjs-server:1234"})
        hub: Any = KnownUsers()
        door = VolumeDoor({"team": SharedVolume("team", "", ("team", "leads"))}, hub)
        return cls(
            database,
            settings,
            keyring,
            Collaboration(database, settings, lambda: keyring, door),
            Participants(database, settings),
            Invites(database, settings, hub, "/hub/"),
            Links(database, settings, "/hub/"),
            Presence(database, settings),
            Admin(database, settings),
            History(database, settings),
            Jwts(database, lambda: keyring, Issuers([])),
            hub,
        )

    async def register(self, identity: Identity = ALICE, **change: str) -> str:
        answer = await self.collaboration.register(identity, replace(FILE, **change))
        return answer["document_id"]

    async def let_in(self, document_id: str, identity: Identity, permissions: str = "read-write") -> None:
        invited = await self.invites.invite(
            ALICE, document_id, InviteBody(identity.username, "", permissions)
        )
        await self.invites.accept(identity, invited["invite_id"])

    async def seen(self, identity: Identity, *document_ids: str) -> dict[str, Any]:
        documents = [Present(document_id, 1, "cell 3") for document_id in document_ids]
        return await self.presence.report(identity, documents)

    def audit_of(self, document_id: str) -> AuditFilter:
        return AuditFilter(document_id=document_id)

    async def happened(self, document_id: str) -> list[str]:
        return (await self.collaboration.session(ALICE, document_id))["recent_activity"]

    async def people(self, document_id: str, who: Identity = ALICE) -> dict[str, dict[str, Any]]:
        answer = await self.participants.listed(who, document_id, Page())
        return {one["username"]: one for one in answer["participants"]}


async def refused(call: Any, kind: type[Refused]) -> str:
    with pytest.raises(kind) as error:
        await call
    return error.value.code
