"""Where the web page's pages are, and what a browser may do with them."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from jinja2 import Environment

from .views import Json


@dataclass(frozen=True)
class Site:
    """The pages of one service.

    Attributes:
        templates: of `rendering.environment()`.
        prefix: the path of the service, such as `/services/rtc/`.
        hub_url: the Hub as the pages link to it: `/hub/`, or with its own host where subdomains are in use.
        api: the path of the API, where the event stream is, and the search of users.
    """

    templates: Environment
    prefix: str
    hub_url: str
    api: str

    def session(self, document_id: str) -> str:
        """The page of a session."""
        return f"{self.prefix}sessions/{quote(document_id, safe='')}"

    def version(self, document_id: str, version_id: str) -> str:
        """The page of a version."""
        return f"{self.session(document_id)}/versions/{quote(version_id, safe='')}"

    def admin(self, kind: str = "", name: str = "") -> str:
        """A page of the Hub's admins: of one of the `sessions` or `users`, or all of them."""
        return f"{self.prefix}admin" + (f"/{kind}" if kind else "") + (f"/{quote(name, safe='')}" if name else "")

    def link(self, token: str) -> str:
        """The page that an invitation link leads to."""
        return f"{self.prefix}links/{quote(token, safe='')}"

    def join(self, document_id: str) -> str:
        """Where a document is opened on whoever's server it is that asks."""
        return f"{self.hub_url}user-redirect/rtc/join/{quote(document_id, safe='')}"

    def open(self, session: Json, is_owner: bool) -> str:
        """Where a participant opens a session's document: its owner at home, the others at their copy.

        A file of a shared volume lies where each one's server has the volume, which only the server knows.
        """
        if is_owner and "volume" not in session:
            return f"{self.hub_url}user-redirect/lab/tree/{quote(session['document_path'].lstrip('/'))}"
        return self.join(session["document_id"])

    def content_security_policy(self) -> str:
        """Nothing from elsewhere, nothing inline, in nobody's frame."""
        hub = urlsplit(self.hub_url)
        # A form's answer leads on to the Hub and to a user's server: other hosts, where subdomains are in use.
        others = f" {hub.scheme}://{hub.netloc} {hub.scheme}://*.{hub.netloc}" if hub.netloc else ""
        return (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
            f"form-action 'self'{others}; base-uri 'none'; frame-ancestors 'none'"
        )
