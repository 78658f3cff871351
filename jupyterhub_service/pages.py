"""The web page: what a browser visits. It shows what the rules answer; see `forms.py` for what it changes."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from jupyterhub.services.auth import HubOAuthCallbackHandler
from tornado.web import StaticFileHandler

from . import listing
from .api import SESSION_KEYS, RuleHandler
from .base import BaseHandler, error_answer
from .listing import LONGEST_LIST, Page
from .site import Site
from .views import Json

_NOTICE = "rtc_notice"
_NOTICE_SECONDS = 60
# Set by the page's own script when it asks for what is new.
_LIVE = "X-RTC-Live"
_SECURITY = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
_RECENT_ACTIVITIES = 30
_RECENT_VERSIONS = 6
_DIALOGS = ("invite", "link", "keep")
_EMPTY = dict.fromkeys(("username", "permissions", "message", "expires_in", "max_uses", "label"), "")


class HtmlHandler(BaseHandler):
    """Answers with pages, errors too."""

    site: Site

    def set_default_headers(self) -> None:
        """As the API, and what a browser must not do with a page."""
        super().set_default_headers()
        for name, value in _SECURITY.items():
            self.set_header(name, value)

    def show(self, template: str, status: int = 200, **values: Any) -> None:
        """Answer with a page.

        Args:
            template: its file.
            status: the HTTP status.
            values: what the template shows, beside `site`, `identity`, `asset`, `notice` and `xsrf_token`.
        """
        self.set_status(status)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Content-Security-Policy", self.site.content_security_policy())
        identity = getattr(self, "identity", None)
        shared = {"site": self.site, "asset": self.static_url, "notice": "", "identity": identity}
        shared["xsrf_token"] = self.xsrf_token.decode() if identity else ""
        self.finish(self.site.templates.get_template(template).render(shared | values))

    def absolute(self, path: str) -> str:
        """A path of ours, as it can be sent to somebody."""
        return f"{self.request.protocol}://{self.request.host}{path}"

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """A page that says what is wrong, and what to do. Whoever is not logged in is sent to the Hub first."""
        status, code, detail = error_answer(kwargs.get("exc_info", (None, None))[1], status_code)
        self.refusal_code = code
        if status == 401 and self.request.method == "GET" and _LIVE not in self.request.headers:
            self.redirect(self.get_login_url())
            return
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            self.context.watch.look_now()
            self.set_header("Retry-After", "5")
            if self.request.method == "GET":
                self.set_header("Refresh", "5")
        self.show("error.html", status, code=code, detail=detail, error_status=status)


class PageHandler(HtmlHandler, RuleHandler):
    """A page for somebody who is logged in, and who is a person."""

    async def prepare(self) -> None:
        """Find out who asks.

        Raises:
            Refused, DatabaseError: see `ApiHandler.prepare`.
        """
        await super().prepare()
        self.identity.require_person()

    def go(self, url: str, notice: str = "") -> None:
        """Go on to a page, which says what was done."""
        if notice:
            path, strict = self.site.prefix, {"httponly": True, "samesite": "Strict"}
            self.set_signed_cookie(_NOTICE, notice, None, path=path, max_age=_NOTICE_SECONDS, **strict)
        self.redirect(url, status=303)

    def notice(self) -> str:
        """What was done just now; it is told once."""
        if _LIVE in self.request.headers or (text := self.get_signed_cookie(_NOTICE)) is None:
            return ""
        self.clear_cookie(_NOTICE, path=self.site.prefix)
        return text.decode()

    async def open_invites(self) -> list[Json]:
        """The invites that the user can answer."""
        answer = await self.rules.invites.mine(self.identity, Page(LONGEST_LIST))
        return [invite for invite in answer["invites"] if invite["state"] == "pending"]


class IndexHandler(PageHandler):
    """The service's own address: my invites and my sessions."""

    async def get(self) -> None:
        """Show them."""
        search = self.get_query_argument("q", "")
        page = self.page(SESSION_KEYS)
        wanted = listing.wanted({"q": search}, self.identity.username)
        listed = await self.rules.collaboration.sessions(self.identity, page, wanted)
        self.show(
            "index.html",
            listed=listed,
            here=await self.rules.overview.people_here(listed["sessions"]),
            invites=await self.open_invites(),
            page=page,
            search=search,
            notice=self.notice(),
        )


class SessionPage(PageHandler):
    """`sessions/{document_id}`, with whatever forms are on it."""

    async def get(self, document_id: str) -> None:
        """Show a session, or the invite to it."""
        invites = await self.open_invites()
        invite = next((invite for invite in invites if invite["document_id"] == document_id), None)
        if invite is not None:
            self.show("invited.html", invite=invite, notice=self.notice())
            return
        # By its address a dialog is opened without JavaScript.
        opened = next((name for name in _DIALOGS if name in self.request.query_arguments), "")
        await self.show_session(document_id, dialog=opened)

    async def show_session(
        self,
        document_id: str,
        status: int = 200,
        dialog: str = "",
        form: Json | None = None,
        trouble: str = "",
        made: str = "",
    ) -> None:
        """Show a session.

        Args:
            status: the HTTP status.
            dialog: the one that is open: `invite`, `link`, `keep` or "".
            form: what was filled in there.
            trouble: what is wrong with it.
            made: the address of an invitation link that was made just now.
        """
        rules, identity = self.rules, self.identity
        detail = await rules.collaboration.session(identity, document_id)
        is_owner = detail["session"]["owner"]["username"] == identity.username
        people = await rules.participants.listed(identity, document_id, Page(LONGEST_LIST))
        happened = await rules.collaboration.activity(identity, document_id, Page(_RECENT_ACTIVITIES))
        self.show(
            "session.html",
            status,
            session=detail["session"],
            permissions=detail["user_permissions"],
            people=people["participants"],
            is_owner=is_owner,
            owned=await self._owned(document_id) if is_owner else {},
            activity=happened["activity"],
            versions=await rules.history.listed(identity, document_id, Page(_RECENT_VERSIONS)),
            address=self.absolute(self.site.session(document_id)),
            dialog=dialog,
            filled={name: _EMPTY | (form or {} if name == dialog else {}) for name in _DIALOGS},
            trouble=trouble,
            made=made,
            notice=self.notice(),
        )

    async def _owned(self, document_id: str) -> Json:
        """What a session's owner alone sees."""
        rules, identity, all_of_it = self.rules, self.identity, Page(LONGEST_LIST)
        invites = await rules.invites.of_session(identity, document_id, all_of_it)
        links = await rules.links.listed(identity, document_id, all_of_it)
        return {
            "invites": [one for one in invites["invites"] if one["state"] in ("pending", "expired")],
            "links": [one for one in links["links"] if one["state"] == "active"],
            "colleagues": await rules.overview.colleagues(identity),
            "expiries": rules.overview.expiries(),
        }


class OfferPage(PageHandler):
    """`links/{token}`"""

    async def get(self, token: str) -> None:
        """Show what an invitation link opens; to accept it is a form."""
        offer = await self.rules.links.look(self.identity, token)
        self.show("offer.html", offer=offer, token=token)


class LoginHandler(HtmlHandler, HubOAuthCallbackHandler):
    """Where the Hub sends a browser back to, which gets the service's cookie here."""

    async def prepare(self) -> None:
        """Look the cookie up beforehand, without blocking the loop: `get` asks for it."""
        await self.hub_auth.get_user(self, sync=False)


class AssetHandler(StaticFileHandler):
    """The style sheet, the script, the icon."""

    def set_extra_headers(self, path: str) -> None:
        """A browser takes them for what they are."""
        self.set_header("X-Content-Type-Options", "nosniff")
        self.clear_header("Server")
