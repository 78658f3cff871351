"""Small HTTP requests to the demo's own servers."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

# An empty ProxyHandler: the machine's HTTP proxy, if it has one, does not know 127.0.0.1.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def request(method: str, url: str, *, token: str | None = None, body: Any = None) -> tuple[int, str]:
    """Sends one request; returns status and body, or 0 and the reason when nobody answers."""
    message = urllib.request.Request(url, method=method)
    if token:
        message.add_header("Authorization", f"Bearer {token}")
    if body is not None:
        message.data = json.dumps(body).encode()
        message.add_header("Content-Type", "application/json")
    try:
        with _opener.open(message, timeout=10) as response:
            return response.status, response.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(errors="replace")
    except OSError as error:
        return 0, str(getattr(error, "reason", error))
