"""Why somebody may not enter a document, invite to it or write in it: `--document ID --user NAME`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from ..core import queries_doctor, queries_open
from ..core.errors import DatabaseError
from . import database as database_checks
from .check import Check, Scene


def checks(scene: Scene) -> Iterator[Check]:
    """The checks of this area; none, where no document was named."""
    if not scene.document:
        return
    if reason := database_checks.why_not(scene):
        yield Check("access.document", None, reason)
        return
    with closing(database_checks.of(scene)) as database:
        try:
            owner = database.call(queries_doctor.owner_of, scene.document)
            rights = database.call(queries_open.document_rights, [scene.document])
        except DatabaseError:
            yield Check("access.document", None, "The tables can't be read; see database.*")
            return
    if owner is None:
        yield Check(
            "access.document", False, f"There is no document {scene.document}.",
            "It was deleted, or never opened on a linked server. From a backup: jupyter-rtc restore --document ID FILE",
        )  # fmt: skip
        return
    yield Check("access.document", True, f"{scene.document} is {owner}'s: {owner} alone invites and removes.")
    if scene.user:
        yield _user(scene, owner, rights.permissions.get((scene.document, scene.user)))


def _user(scene: Scene, owner: str, permissions: str | None) -> Check:
    name = "access.user"
    if permissions is None:
        return Check(
            name, False, f"{scene.user} is no participant.",
            f"{owner} invites {scene.user} on the service's page (Invite…), and {scene.user} accepts there.",
        )  # fmt: skip
    return Check(name, True, f"{scene.user} may enter: {'owner' if scene.user == owner else permissions}.")
