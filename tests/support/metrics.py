"""What a server's `/metrics` says."""

from __future__ import annotations

import requests
from support.yjs_processes import YjsProcess


def metric(server: YjsProcess, name: str) -> float:
    """The value of a metric that has no labels."""
    lines = requests.get(f"http://127.0.0.1:{server.port}/metrics", timeout=10).text.splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(name + " ")))
