"""Hub tokens at the Y.js server: whom the Hub says that a token stands for."""

from __future__ import annotations

import asyncio

from jupyterhub.services.auth import HubAuth
from tornado.web import HTTPError

from jupyter_rtc_amprenta.core.errors import ServiceUnavailable, TokenError

from .auth import identity_of
from .errors import Forbidden
from .yjs_admission import HubUser

_HUB_SECONDS = 10.0


class HubTokenCheck:
    """Asks the Hub, each time: a token that was revoked must be felt at once.

    Args:
        hub_auth: the Hub's own client, with this service's name and token.
    """

    def __init__(self, hub_auth: HubAuth) -> None:
        self._hub_auth = hub_auth

    async def __call__(self, token: str) -> HubUser:
        """The token's user, and the server that holds it.

        Raises:
            TokenError: the Hub does not know it, or it does not reach this service.
            ServiceUnavailable: the Hub does not answer.
        """
        try:
            async with asyncio.timeout(_HUB_SECONDS):
                model = await self._hub_auth.user_for_token(token, use_cache=False, sync=False)
        except (HTTPError, TimeoutError) as error:
            raise ServiceUnavailable("The Hub does not answer, so its token can't be checked.") from error
        if model is None:
            raise TokenError("The Hub does not know this token.")
        try:
            identity = identity_of(model, self._hub_auth.check_scopes(self._hub_auth.access_scopes, model))
        except Forbidden as error:
            raise TokenError(str(error)) from None
        return HubUser(identity.username, identity.server)
