"""The pages of the Hub's admins: what there is, who did what, and what can't be undone."""

from __future__ import annotations

from . import bodies, listing
from .admin import require_admin
from .api import SESSION_KEYS
from .api_admin import AUDIT_KEYS, USER_KEYS
from .errors import BadRequest, Conflict
from .pages import PageHandler

_DONE = {
    "end": "The session is its owner's alone now.",
    "delete": "The document is deleted.",
    "disconnect": "{} is disconnected.",
    "rename": "{} is renamed.",
    "erase": "{} is erased.",
}


class AdminPage(PageHandler):
    """A page for admins of the Hub."""

    async def prepare(self) -> None:
        """Let nobody else look.

        Raises:
            Refused, DatabaseError: see `PageHandler.prepare`.
        """
        await super().prepare()
        require_admin(self.identity)


class AdminSessionsPage(AdminPage):
    """`admin`"""

    async def get(self) -> None:
        """Show how much there is, and all sessions."""
        parameters, page = self.parameters(), self.page(SESSION_KEYS)
        asked = {name: parameters.get(name, "") for name in ("q", "owner", "active")}
        wanted = listing.wanted(asked, self.identity.username)
        self.show(
            "admin.html",
            counts=await self.rules.admin.counts(self.identity),
            listed=await self.rules.admin.sessions(self.identity, page, wanted),
            page=page,
            asked=asked,
            notice=self.notice(),
        )


class AdminSessionPage(AdminPage):
    """`admin/sessions/{document_id}`"""

    async def get(self, document_id: str) -> None:
        """Show a session from outside, and what can be done with it."""
        await self.show_session(document_id)

    async def show_session(self, document_id: str, status: int = 200, trouble: str = "") -> None:
        """Show it; `trouble` is why something was not done."""
        session = await self.rules.admin.session(self.identity, document_id)
        self.show("admin_session.html", status, session=session, trouble=trouble, notice=self.notice())


class AdminSessionForm(AdminSessionPage):
    """`admin/sessions/{document_id}/end` and `…/delete`"""

    async def get(self, document_id: str, change: str) -> None:  # type: ignore[override]
        """A browser comes here by reloading what a form has answered."""
        self.redirect(self.site.admin("sessions", document_id))

    async def post(self, document_id: str, change: str) -> None:
        """Do it, if it is confirmed."""
        rules, confirm = self.rules.admin, self.get_body_argument("confirm", "")
        try:
            await (rules.end if change == "end" else rules.delete)(self.identity, document_id, confirm)
        except BadRequest:
            await self.show_session(document_id, 400, "Tick the box: it can't be undone.")
        else:
            self.go(self.site.admin("sessions", document_id) if change == "end" else self.site.admin(), _DONE[change])


class AdminUsersPage(AdminPage):
    """`admin/users`"""

    async def get(self) -> None:
        """Show who is known here, or who is known here and not at the Hub any more."""
        asked, page = self.parameters(), self.page(USER_KEYS)
        name, gone = listing.name_filter(asked), listing.flag(asked, "gone")
        self.show(
            "admin_users.html",
            listed=await self.rules.admin.users(self.identity, page, name, gone),
            page=page,
            asked={"name": name, "gone": asked.get("gone", "")},
            notice=self.notice(),
        )


class AdminUserPage(AdminPage):
    """`admin/users/{username}`"""

    async def get(self, username: str) -> None:
        """Show somebody, and what can be done."""
        await self.show_user(username)

    async def show_user(self, username: str, status: int = 200, trouble: str = "") -> None:
        """Show them; `trouble` is why something was not done."""
        user = await self.rules.admin.user(self.identity, username)
        self.show("admin_user.html", status, user=user, trouble=trouble, notice=self.notice())


class AdminUserForm(AdminUserPage):
    """`admin/users/{username}/disconnect`, `…/rename` and `…/erase`"""

    async def get(self, username: str, change: str) -> None:  # type: ignore[override]
        """A browser comes here by reloading what a form has answered."""
        self.redirect(self.site.admin("users", username))

    async def post(self, username: str, change: str) -> None:
        """Do it, if it is confirmed."""
        try:
            where = await self._change(username, change)
        except (BadRequest, Conflict) as error:
            is_unconfirmed = error.code == "not_confirmed"
            trouble = "Tick the box: it can't be undone." if is_unconfirmed else error.detail
            await self.show_user(username, error.status, trouble)
        else:
            self.go(where, _DONE[change].format(username))

    async def _change(self, username: str, change: str) -> str:
        """Do it, and say where to go on."""
        rules, identity, confirm = self.rules.admin, self.identity, self.get_body_argument("confirm", "")
        if change == "disconnect":
            await rules.disconnect(identity, username, confirm)
            return self.site.admin("users", username)
        if change == "rename":
            new = bodies.rename_body({"username": self.get_body_argument("new", "")})
            await rules.rename(identity, username, new)
            return self.site.admin("users", new)
        await rules.erase(identity, username, confirm, self.get_body_argument("successor", ""))
        return self.site.admin("users")


class AuditPage(AdminPage):
    """`admin/audit`"""

    async def get(self) -> None:
        """Show who did what."""
        asked, page = self.parameters(), self.page(AUDIT_KEYS)
        names = ("username", "document_id", "action", "since", "until")
        self.show(
            "admin_audit.html",
            listed=await self.rules.admin.audit(self.identity, page, listing.audit_filter(asked)),
            page=page,
            asked={name: asked.get(name, "") for name in names},
        )
