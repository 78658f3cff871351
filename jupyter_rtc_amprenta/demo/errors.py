"""What can go wrong in the demo."""

from __future__ import annotations

from jupyter_rtc_amprenta.core.errors import RtcError


class DemoError(RtcError):
    """Something that the person who runs the demo can mend; its text is shown to them as it is."""
