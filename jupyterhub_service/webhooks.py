"""Webhooks: other systems are told who was invited, accepted, came and went. Only the operator says which.

Each event is a POST of its own, in order, signed as GitHub's are: `X-RTC-Signature: sha256=` and the HMAC of the body.
What is not answered with 2xx is tried again, later and later, for a day at most. A target is told an event once,
or again where a process died between the answer and the commit: `X-RTC-Event` names it.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest

from jupyter_rtc_amprenta.core import queries_webhooks
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.errors import DatabaseError
from jupyter_rtc_amprenta.core.queries_webhooks import Batch
from jupyter_rtc_amprenta.core.schema import now

from . import views

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
FIRST_RETRY_SECONDS = 5.0
_LONGEST_RETRY_SECONDS = 3600.0
# With these delays, about a day; after it the event is given up, and the next one tried.
MOST_ATTEMPTS = 32
_TIMEOUT_SECONDS = 10.0
_BATCH = 20
ACTIONS = frozenset(
    {"invited", "accepted", "declined", "revoked", "joined", "left", "entered", "removed", "resigned"}
)


class Webhooks:
    """Tells the configured targets.

    Args:
        database: PostgreSQL.
        targets: their URLs.
        secret: signs what is sent.
    """

    def __init__(self, database: Database, targets: Sequence[str], secret: str) -> None:
        self._database = database
        self._targets = targets
        self._secret = secret.encode()
        self._known: set[str] = set()

    async def run(self) -> None:
        """Tell, for as long as the service runs."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            # A target that is slow keeps none of the others waiting.
            await asyncio.gather(*map(self._tell, self._targets))

    async def _tell(self, target: str) -> None:
        try:
            if target not in self._known:
                await self._database.run(queries_webhooks.know_target, target)
                self._known.add(target)
            while (batch := await self._claim(target)) is not None and await self._send(target, batch):
                continue
        except DatabaseError as error:
            log.debug("Webhooks wait for the database: %s", error)

    async def _claim(self, target: str) -> Batch | None:
        # Longer than a whole batch takes.
        until = now() + timedelta(seconds=(_BATCH + 1) * _TIMEOUT_SECONDS)
        return await self._database.run(queries_webhooks.claim_batch, target, ACTIONS, until, _BATCH)

    async def _send(self, target: str, batch: Batch) -> bool:
        """Tell a target a batch; whether all of it is done with."""
        attempts = batch.attempts
        for event in batch.events:
            trouble = await self._post(target, event)
            if trouble and attempts + 1 < MOST_ATTEMPTS:
                log.warning("Webhook %s, event %d: %s; it is tried again.", target, event.event_id, trouble)
                await self._later(target, event.event_id - 1, attempts + 1)
                return False
            if trouble:
                log.error("Webhook %s, event %d: %s; given up.", target, event.event_id, trouble)
            else:
                log.info("Webhook %s, event %d: told.", target, event.event_id)
            attempts = 0
        await self._database.run(queries_webhooks.told, target, batch.position)
        return True

    async def _later(self, target: str, position: int, attempts: int) -> None:
        delay = min(FIRST_RETRY_SECONDS * 2 ** (attempts - 1), _LONGEST_RETRY_SECONDS)
        retry_at = now() + timedelta(seconds=delay * random.uniform(0.75, 1.0))
        await self._database.run(queries_webhooks.failed, target, position, attempts, retry_at)

    async def _post(self, target: str, event: Any) -> str:
        """What went wrong; "" where nothing did."""
        body = json.dumps(views.event(event) | {"event_id": event.event_id}).encode()
        request = HTTPRequest(
            target,
            method="POST",
            body=body,
            headers={
                "Content-Type": "application/json",
                "User-Agent": "amprenta-rtc",
                "X-RTC-Event": str(event.event_id),
                "X-RTC-Signature": signature(self._secret, body),
            },
            connect_timeout=_TIMEOUT_SECONDS,
            request_timeout=_TIMEOUT_SECONDS,
            # Whoever answers at the target must not choose another one.
            follow_redirects=False,
        )
        try:
            answer = await AsyncHTTPClient().fetch(request, raise_error=False)
        except (OSError, HTTPClientError) as error:
            return str(error) or type(error).__name__
        return "" if 200 <= answer.code < 300 else f"status {answer.code}"


def signature(secret: bytes, body: bytes) -> str:
    """The header that says that a body is from here."""
    return f"sha256={hmac.new(secret, body, hashlib.sha256).hexdigest()}"
