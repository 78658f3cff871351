"""What the web page shows beside the API's answers. It asks; it changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from jupyter_rtc_amprenta.core import queries_page
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.settings import Settings

from .auth import Identity
from .collaboration import online_since
from .views import Json

# An hour, a day, a week, a month.
_USUAL_EXPIRIES = (3600, 86400, 7 * 86400, 30 * 86400)
# As many names as a browser's list of suggestions can use.
_MOST_COLLEAGUES = 500


class Overview:
    """Who is where, and whom one may invite for how long.

    Every method raises DatabaseUnavailable.

    Args:
        database: PostgreSQL.
        settings: after which time without a report somebody is offline.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    async def people_here(self, sessions: Sequence[Json]) -> dict[str, list[Json]]:
        """Who is in each of these sessions now, by document_id; sessions with nobody are left out."""
        document_ids = [session["document_id"] for session in sessions]
        since = online_since(self._settings)
        rows = await self._database.run(queries_page.people_here, document_ids, since)
        here: dict[str, list[Json]] = {}
        for row in rows:
            person = {"username": row.username, "display_name": row.display_name}
            here.setdefault(row.document_id, []).append(person)
        return here

    async def colleagues(self, identity: Identity) -> list[Json]:
        """Whom the caller works with already. The service may not list the Hub's users, and does not need to."""
        rows = await self._database.run(queries_page.colleagues_of, identity.username, _MOST_COLLEAGUES)
        return [{"username": row.username, "display_name": row.display_name} for row in rows]

    def expiries(self) -> list[tuple[int, bool]]:
        """For how long an invite may be made, in seconds, and whether that is the default; the shortest first."""
        default, longest = int(self._settings.invite_seconds), int(self._settings.longest_invite_seconds)
        usual = {seconds for seconds in _USUAL_EXPIRIES if seconds <= longest}
        return [(seconds, seconds == default) for seconds in sorted(usual | {default})]
