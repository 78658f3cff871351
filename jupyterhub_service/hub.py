"""What the service asks the Hub for itself: whether a user exists, what they are called, in which groups they are,
and, where the operator lets it, who there is. Its token may do no more."""

from __future__ import annotations

import json
import logging
from typing import Any
from urllib.parse import quote, urlencode

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest, HTTPResponse

from .errors import Unavailable

log = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 10.0
# Lists come in pages, whose size the client may choose.
_PAGINATED = "application/jupyterhub-pagination+json"


class Hub:
    """The Hub's API.

    Args:
        api_url: such as `http://127.0.0.1:8081/hub/api`.
        api_token: the service's; needs the scope `read:users:name`, `list:users` for a search, and `read:users:groups`
            where there are shared volumes.
    """

    def __init__(self, api_url: str, api_token: str) -> None:
        self._api_url = api_url.rstrip("/")
        self._api_token = api_token

    async def display_name(self, username: str) -> str | None:
        """What the Hub calls a user for people.

        Returns:
            "" where it has no such name, None where it has no such user.

        Raises:
            Unavailable: it does not answer, or does not tell.
        """
        model = await self._user(username)
        return None if model is None else known_name(model)

    async def groups(self, username: str) -> list[str]:
        """The Hub's groups that a user is in; none where it has no such user.

        Raises:
            Unavailable: it does not answer, or does not tell.
        """
        model = await self._user(username)
        if model is not None and "groups" not in model:
            log.warning("The Hub does not tell the groups of a user: the service lacks the scope read:users:groups.")
            raise Unavailable("hub_unavailable", "The Hub does not tell which groups this user is in.")
        return [] if model is None else list(model["groups"])

    async def _user(self, username: str) -> dict[str, Any] | None:
        answer = await self._get(f"/users/{quote(username, safe='')}")
        if answer.code == 404:
            return None
        if answer.code != 200:
            log.warning("The Hub answers %d when it is asked for a user.", answer.code)
            raise Unavailable("hub_unavailable", "The Hub does not tell whether this user exists.")
        return json.loads(answer.body)

    async def search(self, name: str, limit: int) -> list[tuple[str, str]] | None:
        """The users that have this in their name: at most so many, with what the Hub calls them for people, or "".

        Returns:
            None where the Hub does not let the service list users (scope `list:users`).

        Raises:
            Unavailable: it does not answer, or does not tell.
        """
        answer = await self._get(f"/users?{urlencode({'name_filter': name, 'limit': limit})}")
        if answer.code == 403:
            return None
        if answer.code != 200:
            log.warning("The Hub answers %d when it is asked for users.", answer.code)
            raise Unavailable("hub_unavailable", "The Hub does not tell its users.")
        return [(model["name"], known_name(model)) for model in json.loads(answer.body)["items"]]

    async def _get(self, path: str) -> HTTPResponse:
        request = HTTPRequest(
            self._api_url + path,
            headers={"Authorization": f"token {self._api_token}", "Accept": _PAGINATED},
            connect_timeout=_TIMEOUT_SECONDS,
            request_timeout=_TIMEOUT_SECONDS,
        )
        try:
            return await AsyncHTTPClient().fetch(request, raise_error=False)
        except (OSError, HTTPClientError) as error:
            log.warning("The Hub does not answer: %s", error)
            raise Unavailable("hub_unavailable", "The Hub does not answer.") from error


def known_name(model: dict[str, Any]) -> str:
    """The name for people in the Hub's model of a user: from its authenticator, where that knows more; else ""."""
    info = model.get("user_info") or {}
    return str(info.get("display_name") or info.get("name") or "")
