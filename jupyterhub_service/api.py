"""The REST API: what comes in, which rule answers, with which status. No rules, no SQL, no try/except here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from . import bodies, listing
from .admin import Admin
from .base import ApiHandler
from .collaboration import Collaboration
from .events import EventFeed
from .history import History
from .invites import Invites
from .jwts import Jwts
from .links import Links
from .listing import Page
from .overview import Overview
from .participants import Participants
from .people import People
from .presence import Presence


@dataclass(frozen=True)
class Rules:
    """What the handlers ask."""

    collaboration: Collaboration
    participants: Participants
    invites: Invites
    links: Links
    presence: Presence
    admin: Admin
    feed: EventFeed
    overview: Overview
    history: History
    jwts: Jwts
    people: People


class RuleHandler(ApiHandler):
    """A handler that asks the rules."""

    rules: Rules

    def page(self, keys: Sequence[Callable[[str], Any]]) -> Page:
        """The part of a list that the query asks for."""
        return listing.page(self.parameters(), keys)

    def parameters(self) -> dict[str, str]:
        """The query; of a parameter that is given twice, the last counts."""
        return {name: self.get_query_argument(name) for name in self.request.query_arguments}


SESSION_KEYS = listing.SESSION_KEYS["last_activity"]
_PARTICIPANT_KEYS = (datetime.fromisoformat, str)
_INVITE_KEYS = (int, datetime.fromisoformat, str)
_ACTIVITY_KEYS = (int,)
_LINK_KEYS = (datetime.fromisoformat, str)


class DocumentsHandler(RuleHandler):
    """`/documents`"""

    async def get(self) -> None:
        """My documents."""
        self.send(await self.rules.collaboration.documents(self.identity, self.page(SESSION_KEYS)))

    async def post(self) -> None:
        """Register a file's document: 201 where it was made, 200 where it was known."""
        body = bodies.document_body(self.json_body())
        answer = await self.rules.collaboration.register(self.identity, body)
        self.send(answer, 201 if answer["created"] else 200)


class DocumentHandler(RuleHandler):
    """`/documents/{document_id}`"""

    async def get(self, document_id: str) -> None:
        """A document, as a server needs it."""
        self.send(await self.rules.collaboration.document(self.identity, document_id))

    async def patch(self, document_id: str) -> None:
        """Follow its file, which was moved or deleted."""
        body = bodies.change_body(self.json_body())
        self.send(await self.rules.collaboration.change(self.identity, document_id, body))

    async def delete(self, document_id: str) -> None:
        """Remove it wholly."""
        await self.rules.collaboration.delete(self.identity, document_id)
        self.set_status(204)


class SessionsHandler(RuleHandler):
    """`/sessions`"""

    async def get(self) -> None:
        """My sessions."""
        wanted = listing.wanted(self.parameters(), self.identity.username)
        page = self.page(listing.SESSION_KEYS[wanted.sort])
        self.send(await self.rules.collaboration.sessions(self.identity, page, wanted))


class SessionHandler(RuleHandler):
    """`/sessions/{document_id}`"""

    async def get(self, document_id: str) -> None:
        """A session in detail."""
        self.send(await self.rules.collaboration.session(self.identity, document_id))

    async def patch(self, document_id: str) -> None:
        """Hand it over to another owner."""
        owner = bodies.session_body(self.json_body())
        await self.rules.participants.hand_over(self.identity, document_id, owner)
        self.send(await self.rules.collaboration.session(self.identity, document_id))


class ParticipantsHandler(RuleHandler):
    """`/sessions/{document_id}/participants`"""

    async def get(self, document_id: str) -> None:
        """Who takes part."""
        page = self.page(_PARTICIPANT_KEYS)
        self.send(await self.rules.participants.listed(self.identity, document_id, page))


class ParticipantHandler(RuleHandler):
    """`/sessions/{document_id}/participants/{username}`"""

    async def patch(self, document_id: str, username: str) -> None:
        """Change what somebody may do."""
        permissions = bodies.participant_body(self.json_body())
        self.send(await self.rules.participants.change(self.identity, document_id, username, permissions))

    async def delete(self, document_id: str, username: str) -> None:
        """Take somebody out, or oneself."""
        await self.rules.participants.remove(self.identity, document_id, username)
        self.set_status(204)


class ActivityHandler(RuleHandler):
    """`/sessions/{document_id}/activity`"""

    async def get(self, document_id: str) -> None:
        """What happened."""
        page = self.page(_ACTIVITY_KEYS)
        self.send(await self.rules.collaboration.activity(self.identity, document_id, page))


class InviteHandler(RuleHandler):
    """`/sessions/{document_id}/invite`"""

    async def post(self, document_id: str) -> None:
        """Invite a user."""
        body = bodies.invite_body(self.json_body())
        key = bodies.idempotency_key(self.request.headers.get("Idempotency-Key", ""))
        self.send(await self.rules.invites.invite(self.identity, document_id, body, key))


class SessionInvitesHandler(RuleHandler):
    """`/sessions/{document_id}/invites`"""

    async def get(self, document_id: str) -> None:
        """Who was invited."""
        page = self.page(_INVITE_KEYS)
        self.send(await self.rules.invites.of_session(self.identity, document_id, page))


class MyInvitesHandler(RuleHandler):
    """`/invites`"""

    async def get(self) -> None:
        """Whereto I was invited."""
        self.send(await self.rules.invites.mine(self.identity, self.page(_INVITE_KEYS)))


class OneInviteHandler(RuleHandler):
    """`/invites/{invite_id}`"""

    async def delete(self, invite_id: str) -> None:
        """Take it back."""
        await self.rules.invites.revoke(self.identity, invite_id)
        self.set_status(204)


class RenewHandler(RuleHandler):
    """`/invites/{invite_id}/renew`"""

    async def post(self, invite_id: str) -> None:
        """Let it be accepted for longer."""
        seconds = bodies.renewal_body(self.optional_body())
        self.send(await self.rules.invites.renew(self.identity, invite_id, seconds))


class LinksHandler(RuleHandler):
    """`/sessions/{document_id}/links`"""

    async def get(self, document_id: str) -> None:
        """Its links."""
        page = self.page(_LINK_KEYS)
        self.send(await self.rules.links.listed(self.identity, document_id, page))

    async def post(self, document_id: str) -> None:
        """Make one."""
        body = bodies.link_body(self.optional_body())
        self.send(await self.rules.links.make(self.identity, document_id, body), 201)


class LinkHandler(RuleHandler):
    """`/sessions/{document_id}/links/{link_id}`"""

    async def delete(self, document_id: str, link_id: str) -> None:
        """Withdraw it."""
        await self.rules.links.revoke(self.identity, document_id, link_id)
        self.set_status(204)


class OfferHandler(RuleHandler):
    """`/links/{token}`"""

    async def get(self, token: str) -> None:
        """What it opens."""
        self.send(await self.rules.links.look(self.identity, token))


class AcceptLinkHandler(RuleHandler):
    """`/links/{token}/accept`"""

    async def post(self, token: str) -> None:
        """Take part."""
        self.send(await self.rules.links.accept(self.identity, token))


class AcceptHandler(RuleHandler):
    """`/invites/{invite_id}/accept`"""

    async def post(self, invite_id: str) -> None:
        """Take part."""
        self.send(await self.rules.invites.accept(self.identity, invite_id))


class DeclineHandler(RuleHandler):
    """`/invites/{invite_id}/decline`"""

    async def post(self, invite_id: str) -> None:
        """Answer no."""
        self.send(await self.rules.invites.decline(self.identity, invite_id))


class TokenHandler(RuleHandler):
    """`/token`"""

    async def post(self) -> None:
        """A token for one document, or for this API where none is named."""
        document_id = bodies.token_body(self.optional_body())
        if document_id is None:
            self.send(self.rules.collaboration.api_token(self.identity))
        else:
            self.send(await self.rules.collaboration.document_token(self.identity, document_id))


class RevokeHandler(RuleHandler):
    """`/token/revoke`"""

    async def post(self) -> None:
        """Refuse one, or all of the caller's."""
        await self.rules.jwts.revoke(self.identity, bodies.revocation_body(self.optional_body()))
        self.set_status(204)


class UsersHandler(RuleHandler):
    """`/users`"""

    async def get(self) -> None:
        """Whom one might invite."""
        name = listing.name_filter(self.parameters())
        self.send(await self.rules.people.search(self.identity, name))


class PresenceHandler(RuleHandler):
    """`/presence`"""

    async def post(self) -> None:
        """A server's report of all that it has open."""
        body = bodies.presence_body(self.json_body())
        self.send(await self.rules.presence.report(self.identity, body))
