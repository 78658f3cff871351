"""The forms of the web page: what people change. They ask the same rules as the API, and lead on to a page."""

from __future__ import annotations

from . import bodies
from .errors import BadRequest, NotFound
from .pages import PageHandler, SessionPage
from .views import Json

_DONE = {
    "read-only": "{} can read now, and edit no more.",
    "read-write": "{} can edit now.",
    "owner": "The document is {}'s now.",
    "remove": "{} takes part no more.",
}


class SessionForm(SessionPage):
    """A form on a session's page."""

    async def get(self, document_id: str) -> None:
        """A browser comes here by reloading what a form has answered: the session's page is the place."""
        self.redirect(self.site.session(document_id))

    def filled_in(self, *names: str) -> Json:
        """The form's fields; what is missing is ""."""
        return {name: self.get_body_argument(name, "") for name in names}


class InviteForm(SessionForm):
    """`sessions/{document_id}/invite`"""

    async def post(self, document_id: str) -> None:
        """Invite a user; what is wrong is said in the form, which stays as it was filled in."""
        form = self.filled_in("username", "permissions", "message", "expires_in")
        try:
            body = bodies.invite_body(form | _numbers(form, "expires_in"))
            await self.rules.invites.invite(self.identity, document_id, body)
        except (BadRequest, NotFound) as error:
            await self.show_session(document_id, error.status, "invite", form, error.detail)
        else:
            self.go(self.site.session(document_id), f"{body.username} is invited.")


class LinkForm(SessionForm):
    """`sessions/{document_id}/link`"""

    async def post(self, document_id: str) -> None:
        """Make an invitation link; the page that answers is the only one that has it."""
        form = self.filled_in("permissions", "max_uses", "expires_in")
        try:
            body = bodies.link_body(form | _numbers(form, "max_uses", "expires_in"))
            made = await self.rules.links.make(self.identity, document_id, body)
        except BadRequest as error:
            await self.show_session(document_id, error.status, "link", form, error.detail)
        else:
            address = self.absolute(self.site.link(made["token"]))
            await self.show_session(document_id, 201, made=address)


class WithdrawForm(SessionForm):
    """`sessions/{document_id}/withdraw`"""

    async def post(self, document_id: str) -> None:
        """Take an invite or a link back."""
        if invite_id := self.get_body_argument("invite_id", ""):
            await self.rules.invites.revoke(self.identity, invite_id)
        else:
            await self.rules.links.revoke(self.identity, document_id, self.get_body_argument("link_id"))
        self.go(self.site.session(document_id), "The invitation is withdrawn.")


class RenewForm(SessionForm):
    """`sessions/{document_id}/renew`"""

    async def post(self, document_id: str) -> None:
        """Let an invite be accepted for longer."""
        renewed = await self.rules.invites.renew(self.identity, self.get_body_argument("invite_id"), None)
        self.go(self.site.session(document_id), f"The invitation of {renewed['invited_user']} is renewed.")


class PeopleForm(SessionForm):
    """`sessions/{document_id}/people`"""

    async def post(self, document_id: str) -> None:
        """Change what somebody may do, make them the owner, take them out, or leave."""
        username, change = self.get_body_argument("username"), self.get_body_argument("change")
        rules, identity = self.rules.participants, self.identity
        if change == "remove":
            await rules.remove(identity, document_id, username)
        elif change == "owner":
            await rules.hand_over(identity, document_id, username)
        else:
            permissions = bodies.participant_body({"permissions": change})
            await rules.change(identity, document_id, username, permissions)
        if change == "remove" and username == identity.username:
            self.go(self.site.prefix, "You have left the document.")
        else:
            self.go(self.site.session(document_id), _DONE[change].format(username))


class AnswerForm(PageHandler):
    """`invites/{invite_id}/accept` and `…/decline`"""

    async def post(self, invite_id: str, answer: str) -> None:
        """Answer an invite. Who accepts lands in the document."""
        if answer == "accept":
            accepted = await self.rules.invites.accept(self.identity, invite_id)
            self.go(self.site.join(accepted["document_id"]))
        else:
            await self.rules.invites.decline(self.identity, invite_id)
            self.go(self.site.prefix, "You declined the invitation.")


class OfferForm(PageHandler):
    """`links/{token}/accept`"""

    async def post(self, token: str) -> None:
        """Take part by an invitation link, and land in the document."""
        accepted = await self.rules.links.accept(self.identity, token)
        self.go(self.site.join(accepted["document_id"]))


def _numbers(form: Json, *names: str) -> Json:
    """Fields that the API takes as numbers: none where they are empty, and what is no number it refuses."""
    return {name: _number(form[name]) for name in names}


def _number(text: str) -> int | str | None:
    is_number = text.isascii() and text.isdecimal() and len(text) < 10
    return int(text) if is_number else text or None
