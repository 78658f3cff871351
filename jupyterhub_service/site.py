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
        events: the path of the event stream.
    """

    templates: Environment
    prefix: str
    hub_url: str
    events: str

    def session(self, document_id: str) -> str:
        """The page of a session."""
        return f"{self.prefix}sessions/{quote(document_id, safe='')}"

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
