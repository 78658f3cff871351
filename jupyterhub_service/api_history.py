"""The REST API of versions: `/sessions/{document_id}/history/…`. As in `api.py`, no rules and no SQL here."""

from __future__ import annotations

from . import bodies
from .api import RuleHandler

VERSION_KEYS = (int, str)


class HistoryHandler(RuleHandler):
    """`/sessions/{document_id}/history`"""

    async def get(self, document_id: str) -> None:
        """Its versions."""
        page = self.page(VERSION_KEYS)
        self.send(await self.rules.history.listed(self.identity, document_id, page))

    async def post(self, document_id: str) -> None:
        """Make one of what there is now."""
        label = bodies.label_body(self.json_body())
        self.send(await self.rules.history.make(self.identity, document_id, label), 201)


class VersionHandler(RuleHandler):
    """`/sessions/{document_id}/history/{version_id}`"""

    async def get(self, document_id: str, version_id: str) -> None:
        """What the file held."""
        self.send(await self.rules.history.show(self.identity, document_id, version_id))

    async def patch(self, document_id: str, version_id: str) -> None:
        """Name it."""
        label = bodies.naming_body(self.json_body())
        self.send(await self.rules.history.name(self.identity, document_id, version_id, label))


class RestoreHandler(RuleHandler):
    """`/sessions/{document_id}/history/{version_id}/restore`"""

    async def post(self, document_id: str, version_id: str) -> None:
        """Make the document so again."""
        self.send(await self.rules.history.restore(self.identity, document_id, version_id))
