"""A Hub that knows users and tokens, and nothing else: for tests of the service that need no other part of the Hub."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote

from jupyterhub_service.configuration import PERSON_SCOPE

_ACCESS = "access:services!service=rtc"


class StubHub:
    """The parts of the Hub's API that the service asks.

    Args:
        users: who there is; `admin` is an admin.
        may_list: whether the service may list them.
    """

    def __init__(self, users: tuple[str, ...], may_list: bool = False) -> None:
        self.users = set(users)
        self.may_list = may_list
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.server.hub = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def environment(self) -> dict[str, str]:
        """What the service has to be started with."""
        return {
            "JUPYTERHUB_API_URL": f"http://127.0.0.1:{self.server.server_port}/hub/api",
            "JUPYTERHUB_SERVICE_NAME": "rtc",
        }

    def end(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()

    def listed(self, query: str) -> dict[str, Any]:
        """A page of the users that a query asks for."""
        asked = parse_qs(query)
        wanted, limit = asked.get("name_filter", [""])[0], int(asked["limit"][0])
        names = sorted(name for name in self.users if wanted.lower() in name.lower())
        return {"items": [{"name": name, "kind": "user"} for name in names[:limit]], "_pagination": {}}

    def user_of(self, token: str) -> dict[str, Any] | None:
        """`person-alice` is alice's token, `server-alice` her server's."""
        kind, _, name = token.partition("-")
        if name not in self.users or kind not in ("person", "server"):
            return None
        scopes = [_ACCESS, PERSON_SCOPE if kind == "person" else f"access:servers!server={name}/"]
        return {"name": name, "kind": "user", "admin": name == "admin", "scopes": scopes, "session_id": None}


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        hub: StubHub = self.server.hub  # type: ignore[attr-defined]
        path = self.path.partition("?")[0].removeprefix("/hub/api/")
        answer: dict[str, Any] | None = None
        if path == "user":
            answer = hub.user_of(self.headers["Authorization"].partition(" ")[2])
        elif path == "users":
            answer = hub.listed(self.path.partition("?")[2]) if hub.may_list else None
        elif unquote(path.removeprefix("users/")) in hub.users:
            answer = {"name": unquote(path.removeprefix("users/")), "kind": "user"}
        body = json.dumps(answer or {"status": 404}).encode()
        self.send_response(200 if answer else 403 if path in ("user", "users") else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass
