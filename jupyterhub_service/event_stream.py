"""`GET /events`: server-sent events, for pages and for users' servers."""

from __future__ import annotations

import json
import time
from typing import Any

from tornado.iostream import StreamClosedError

from . import listing, views
from .api import RuleHandler
from .events import Stream

# A comment this often keeps proxies from closing the connection, and finds out who has gone.
HEARTBEAT_SECONDS = 15.0
# Then the stream ends, and the client comes back by itself: its token or cookie is looked at anew.
LONGEST_SECONDS = 300.0
# How long a client waits before it comes back, in milliseconds.
_RETRY_MILLISECONDS = 2000
# What a person is told, and a person's server is not: it can answer no invite.
_FOR_PEOPLE = {"invited", "answered"}


class EventsHandler(RuleHandler):
    """`/events`"""

    async def get(self) -> None:
        """Tell what happens in the caller's sessions and invites, for as long as the caller listens."""
        last = listing.event_id(
            self.request.headers.get("Last-Event-ID") or self.get_query_argument("last_event_id", "")
        )
        stream = await self.rules.feed.open(self.identity.username, last)
        try:
            await self._tell(stream)
        except StreamClosedError:
            # The client has gone, as all of them do in the end.
            return
        finally:
            self.rules.feed.close(stream)

    async def _tell(self, stream: Stream) -> None:
        self.set_header("Content-Type", "text/event-stream; charset=utf-8")
        # nginx would keep the events back until there are many.
        self.set_header("X-Accel-Buffering", "no")
        self.write(f"retry: {_RETRY_MILLISECONDS}\n")
        for event in stream.missed or ():
            self._write(event)
        # Its id is remembered: whoever comes back misses nothing since now.
        hello = "reset" if stream.missed is None else "hello"
        self.write(f"id: {stream.position}\nevent: {hello}\ndata: {{}}\n\n")
        await self.flush()
        until = time.monotonic() + LONGEST_SECONDS
        while time.monotonic() < until:
            try:
                event = await stream.next(HEARTBEAT_SECONDS)
            except TimeoutError:
                self.write(": still here\n\n")
            else:
                if event is None:
                    return
                self._write(event)
            await self.flush()

    def _write(self, event: Any) -> None:
        kind = views.event_kind(event.action)
        if kind in _FOR_PEOPLE and not self.identity.is_person:
            return
        data = json.dumps(views.event(event), ensure_ascii=False)
        self.write(f"id: {event.event_id}\nevent: {kind}\ndata: {data}\n\n")
