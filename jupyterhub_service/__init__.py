"""The Hub's side of Amprenta RTC: the REST service and the Y.js server.

`from jupyterhub_service import configure` in `jupyterhub_config.py` needs neither tornado nor a database driver.
"""

from .configuration import configure

__all__ = ["configure"]
