"""What a browser visits: the login, and the way in."""

from __future__ import annotations

from jupyterhub.services.auth import HubOAuthCallbackHandler

from .base import BaseHandler


class IndexHandler(BaseHandler):
    """The service's own address. Whoever is not logged in is sent to the Hub first."""

    sessions_url: str

    async def get(self) -> None:
        """Go on to one's sessions."""
        model = await self.hub_auth.get_user(self, sync=False)
        self.redirect(self.sessions_url if model else self.get_login_url())


class LoginHandler(BaseHandler, HubOAuthCallbackHandler):
    """Where the Hub sends a browser back to, which gets the service's cookie here."""

    async def prepare(self) -> None:
        """Look the cookie up beforehand, without blocking the loop: `get` asks for it."""
        await self.hub_auth.get_user(self, sync=False)
