"""An HTTP server that answers what a test tells it to, by path: for what a real one can't be made to say."""

from __future__ import annotations

import json
import threading
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class StubSite:
    """Answers by path.

    Args:
        answers: by path without its query: what is sent as JSON, or (status, headers).
        date: the `Date` that it sends, in seconds since the epoch; None: none.
    """

    def __init__(self, answers: dict[str, Any], date: float | None = None) -> None:
        self.answers = answers
        self.date = date
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.site = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> StubSite:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        site: StubSite = self.server.site  # type: ignore[attr-defined]
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer = site.answers.get(self.path.partition("?")[0], (404, {}))
        status, headers = answer if isinstance(answer, tuple) else (200, {})
        body = b"" if isinstance(answer, tuple) else json.dumps(answer).encode()
        self.send_response_only(status)
        if site.date is not None:
            self.send_header("Date", formatdate(site.date, usegmt=True))
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        pass
