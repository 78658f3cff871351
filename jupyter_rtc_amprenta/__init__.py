"""Real-time collaboration across the servers of a JupyterHub: the Jupyter server extension."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    from .app import RtcExtension

    return [{"module": "jupyter_rtc_amprenta", "app": RtcExtension}]
