"""`/health` and `/jwks.json`, which nobody has to log in for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .base import BaseHandler


class HealthHandler(BaseHandler):
    """200 while all is well or only slow, 503 with what is down."""

    yjs_health: Callable[[], dict[str, Any]] | None

    def get(self) -> None:
        """Tell, without asking anything that may be slow."""
        trouble = self.context.watch.trouble
        body: dict[str, Any] = {"database": {"status": "failing" if trouble else "ok"}}
        if trouble:
            body["database"]["detail"] = trouble
        states = {body["database"]["status"]}
        if self.yjs_health is not None:
            body["yjs"] = self.yjs_health()
            states.add(body["yjs"]["log"])
        status = next((state for state in ("failing", "degraded") if state in states), "ok")
        self.send({"status": status} | body, 503 if status == "failing" else 200)


class JwksHandler(BaseHandler):
    """The public keys that our tokens are verified with (RFC 7517)."""

    def get(self) -> None:
        """Answer the key set.

        Raises:
            DatabaseUnavailable: the keys are not loaded yet.
        """
        self.send(self.context.watch.keyring().jwks())
