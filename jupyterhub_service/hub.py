"""What the service asks the Hub for itself: whether a user exists, and is called. Its token may do no more."""

from __future__ import annotations

import json
import logging
from typing import Any
from urllib.parse import quote

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest

from .errors import Unavailable

log = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 10.0


class Hub:
    """The Hub's API.

    Args:
        api_url: such as `http://127.0.0.1:8081/hub/api`.
        api_token: the service's; needs the scope `read:users:name`.
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
        request = HTTPRequest(
            f"{self._api_url}/users/{quote(username, safe='')}",
            headers={"Authorization": f"token {self._api_token}"},
            connect_timeout=_TIMEOUT_SECONDS,
            request_timeout=_TIMEOUT_SECONDS,
        )
        try:
            answer = await AsyncHTTPClient().fetch(request, raise_error=False)
        except (OSError, HTTPClientError) as error:
            log.warning("The Hub does not answer: %s", error)
            raise Unavailable("hub_unavailable", "The Hub does not answer.") from error
        if answer.code == 404:
            return None
        if answer.code != 200:
            log.warning("The Hub answers %d when it is asked for a user.", answer.code)
            raise Unavailable("hub_unavailable", "The Hub does not tell whether this user exists.")
        return known_name(json.loads(answer.body))


def known_name(model: dict[str, Any]) -> str:
    """The name for people in the Hub's model of a user: from its authenticator, where that knows more; else ""."""
    info = model.get("user_info") or {}
    return str(info.get("display_name") or info.get("name") or "")
