"""The pages of a document's versions: all of them, and what one holds; and the forms on them."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

from . import bodies
from .api_history import VERSION_KEYS
from .errors import BadRequest, Conflict
from .forms import SessionForm
from .listing import DEFAULT_LIMIT, Page
from .pages import PageHandler
from .previews import preview
from .views import Json


class VersionsPage(PageHandler):
    """`sessions/{document_id}/versions`"""

    async def get(self, document_id: str) -> None:
        """Show all versions."""
        page = self.page(VERSION_KEYS)
        detail = await self.rules.collaboration.session(self.identity, document_id)
        listed = await self.rules.history.listed(self.identity, document_id, Page(DEFAULT_LIMIT, page.after))
        self.show(
            "versions.html",
            session=detail["session"],
            listed=listed,
            page=page,
            notice=self.notice(),
        )


class VersionPage(PageHandler):
    """`sessions/{document_id}/versions/{version_id}`"""

    async def get(self, document_id: str, version_id: str) -> None:
        """Show what a version holds."""
        await self.show_version(document_id, version_id)

    async def show_version(self, document_id: str, version_id: str, status: int = 200, trouble: str = "") -> None:
        """Show a version.

        Args:
            status: the HTTP status.
            trouble: what is wrong with the name that it was to have.
        """
        detail = await self.rules.collaboration.session(self.identity, document_id)
        version = await self.rules.history.show(self.identity, document_id, version_id)
        # In a thread: to read a large notebook takes a while.
        blocks, is_cut = await asyncio.to_thread(preview, version["content"], version["document_type"])
        self.show(
            "version.html",
            status,
            session=detail["session"],
            is_owner=detail["session"]["owner"]["username"] == self.identity.username,
            permissions=detail["user_permissions"],
            version=version,
            blocks=blocks,
            is_cut=is_cut,
            trouble=trouble,
            notice=self.notice(),
        )


class VersionDownload(PageHandler):
    """`sessions/{document_id}/versions/{version_id}/download`"""

    async def get(self, document_id: str, version_id: str) -> None:
        """Give the file, which a browser keeps and never shows: what is in it is its writers'."""
        version = await self.rules.history.show(self.identity, document_id, version_id)
        name = quote(_file_name(version), safe="")
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("Content-Disposition", f"attachment; filename*=UTF-8''{name}")
        self.set_header("Content-Security-Policy", "default-src 'none'; sandbox")
        self.finish(version["content"])


class KeepForm(SessionForm):
    """`sessions/{document_id}/keep`"""

    async def post(self, document_id: str) -> None:
        """Keep the present state under a name."""
        form = self.filled_in("label")
        try:
            await self.rules.history.make(self.identity, document_id, bodies.label_body(form))
        except (BadRequest, Conflict) as error:
            await self.show_session(document_id, error.status, "keep", form, error.detail)
        else:
            self.go(f"{self.site.session(document_id)}#versions", "The version is kept.")


class VersionForm(VersionPage):
    """`sessions/{document_id}/versions/{version_id}/name` and `…/restore`"""

    async def get(self, document_id: str, version_id: str, change: str) -> None:  # type: ignore[override]
        """A browser comes here by reloading what a form has answered."""
        self.redirect(self.site.version(document_id, version_id))

    async def post(self, document_id: str, version_id: str, change: str) -> None:
        """Name a version, or turn the document into what it was."""
        if change == "restore":
            await self.rules.history.restore(self.identity, document_id, version_id)
            text = "The document is as it was then. What it was until now is a version too."
            self.go(self.site.session(document_id), text)
            return
        # An empty field takes the name away.
        label = self.get_body_argument("label", "") or None
        try:
            name = bodies.naming_body({"label": label})
            await self.rules.history.name(self.identity, document_id, version_id, name)
        except (BadRequest, Conflict) as error:
            await self.show_version(document_id, version_id, error.status, error.detail)
        else:
            done = "The version is named." if label else "The version has no name any more."
            self.go(self.site.version(document_id, version_id), done)


def _file_name(version: Json) -> str:
    """The file's name with the time of the version, such as `plan (2025-12-31 11.22).txt`."""
    stem, dot, suffix = version["file_name"].rpartition(".")
    time = version["created_at"][:16].replace("T", " ").replace(":", ".")
    return f"{stem or suffix} ({time}){dot if stem else ''}{suffix if stem else ''}"
