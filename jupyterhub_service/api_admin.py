"""The REST API of the Hub's admins: `/admin/…`. As in `api.py`, no rules and no SQL here."""

from __future__ import annotations

from . import bodies, listing
from .api import RuleHandler

USER_KEYS = (str,)
AUDIT_KEYS = (int,)


class AdminSessionsHandler(RuleHandler):
    """`/admin/sessions`"""

    async def get(self) -> None:
        """All sessions."""
        wanted = listing.wanted(self.parameters(), self.identity.username)
        page = self.page(listing.SESSION_KEYS[wanted.sort])
        self.send(await self.rules.admin.sessions(self.identity, page, wanted))


class AdminSessionHandler(RuleHandler):
    """`/admin/sessions/{document_id}`"""

    async def get(self, document_id: str) -> None:
        """One from outside."""
        self.send(await self.rules.admin.session(self.identity, document_id))

    async def delete(self, document_id: str) -> None:
        """Delete it."""
        await self.rules.admin.delete(self.identity, document_id, self.get_query_argument("confirm", ""))
        self.set_status(204)


class AdminEndHandler(RuleHandler):
    """`/admin/sessions/{document_id}/end`"""

    async def post(self, document_id: str) -> None:
        """Leave it to its owner alone."""
        confirm = self.get_query_argument("confirm", "")
        self.send(await self.rules.admin.end(self.identity, document_id, confirm))


class AdminCountsHandler(RuleHandler):
    """`/admin/counts`"""

    async def get(self) -> None:
        """How much there is."""
        self.send(await self.rules.admin.counts(self.identity))


class AdminAuditHandler(RuleHandler):
    """`/admin/audit`"""

    async def get(self) -> None:
        """Who did what."""
        wanted = listing.audit_filter(self.parameters())
        self.send(await self.rules.admin.audit(self.identity, self.page(AUDIT_KEYS), wanted))


class AdminUsersHandler(RuleHandler):
    """`/admin/users`"""

    async def get(self) -> None:
        """All users."""
        parameters = self.parameters()
        name, gone = listing.name_filter(parameters), listing.flag(parameters, "gone")
        self.send(await self.rules.admin.users(self.identity, self.page(USER_KEYS), name, gone))


class AdminDisconnectHandler(RuleHandler):
    """`/admin/users/{username}/disconnect`"""

    async def post(self, username: str) -> None:
        """End all that they have open, and take them out of everybody else's sessions."""
        confirm = self.get_query_argument("confirm", "")
        self.send(await self.rules.admin.disconnect(self.identity, username, confirm))


class AdminRenameHandler(RuleHandler):
    """`/admin/users/{username}/rename`"""

    async def post(self, username: str) -> None:
        """Follow the Hub."""
        new = bodies.rename_body(self.json_body())
        self.send(await self.rules.admin.rename(self.identity, username, new))


class AdminUserHandler(RuleHandler):
    """`/admin/users/{username}`"""

    async def get(self, username: str) -> None:
        """One of them."""
        self.send(await self.rules.admin.user(self.identity, username))

    async def delete(self, username: str) -> None:
        """Erase them."""
        confirm, successor = self.get_query_argument("confirm", ""), self.get_query_argument("successor", "")
        self.send(await self.rules.admin.erase(self.identity, username, confirm, successor))
