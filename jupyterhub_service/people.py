"""Whom one may think of when one invites: the Hub's users, or those one knows. The rules, without HTTP."""

from __future__ import annotations

import logging

from jupyter_rtc_amprenta.core.settings import Settings

from .auth import Identity
from .hub import Hub
from .overview import Overview
from .views import Json

log = logging.getLogger(__name__)

_MOST = 20


class People:
    """Finds people by a part of their name.

    Args:
        settings: whether all users of the Hub may be found.
        hub: tells who there is, if it lets the service list users.
        overview: tells whom somebody works with.
    """

    def __init__(self, settings: Settings, hub: Hub, overview: Overview) -> None:
        self._is_open = settings.search_users
        self._hub = hub
        self._overview = overview

    async def search(self, identity: Identity, name: str) -> Json:
        """The first of those who have this in their name.

        Returns:
            `users`, and whether they are of all of the Hub's users (`complete`), or of those whom the caller knows.

        Raises:
            Forbidden: a server asks.
            Unavailable: the Hub does not answer.
            DatabaseUnavailable.
        """
        identity.require_person()
        found = await self._hub.search(name, _MOST + 1) if self._is_open else None
        if self._is_open and found is None:
            log.warning("RTC_SEARCH_USERS is set, but the service's role at the Hub lacks the scope list:users.")
            self._is_open = False
        if found is None:
            return {"users": await self._known(identity, name), "complete": False}
        others = [(username, display) for username, display in found if username != identity.username]
        users = [{"username": username, "display_name": display or username} for username, display in others]
        return {"users": users[:_MOST], "complete": True}

    async def _known(self, identity: Identity, name: str) -> list[Json]:
        wanted = name.casefold()
        known = await self._overview.colleagues(identity)
        return [one for one in known if any(wanted in value.casefold() for value in one.values())][:_MOST]
