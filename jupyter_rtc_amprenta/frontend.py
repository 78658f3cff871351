"""What a linked server tells its JupyterLab and Notebook pages: the colours of people, and what is not offered."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from jupyter_server.auth import IdentityProvider, User
from jupyter_server.serverapp import ServerApp
from jupyter_server.utils import url_path_join

# The button offers the URL, with a token, or a Hub share, of the whole server: the kernels and all files. Documents
# are shared at the service.
HIDDEN_PLUGINS = ("@jupyter/collaboration-extension:shared-link",)
# As many as JupyterLab's themes have for people.
_COLOURS = 7

# Which of the two a file is opened with in Notebook 7.
_NOTEBOOK_SUFFIX = ".ipynb"

Hook = Callable[[Any, dict[str, Any]], dict[str, Any]]


def colour_of(username: str) -> str:
    """A user's colour, in CSS: the same in everybody's windows, on all servers."""
    return f"var(--jp-collaborator-color{zlib.crc32(username.encode()) % _COLOURS + 1})"


def give_colours(identity_provider: IdentityProvider) -> None:
    """Give a colour to users whom nobody gave one: JupyterLab would draw lots in each browser."""
    original = identity_provider.identity_model

    def identity_model(user: User) -> dict[str, Any]:
        model = original(user)
        return model | {"color": model.get("color") or colour_of(user.username)}

    identity_provider.identity_model = identity_model  # type: ignore[method-assign]


def document_url(serverapp: ServerApp, path: str) -> str:
    """Where a file of this server is opened: in Notebook 7 where the server begins with it, else in JupyterLab."""
    # It has the base URL in front by the time that the server runs.
    start_page = serverapp.default_url.removeprefix(serverapp.base_url).lstrip("/")
    begins_with_notebook = start_page.startswith(("tree", "notebooks", "edit"))
    extensions = serverapp.extension_manager.extensions
    enabled = {name for name, extension in extensions.items() if extension.enabled}
    if "notebook" in enabled and (begins_with_notebook or "jupyterlab" not in enabled):
        page = "notebooks" if path.endswith(_NOTEBOOK_SUFFIX) else "edit"
    else:
        page = "lab/tree"
    return url_path_join(serverapp.base_url, page, quote(path))


def hide_share_button(settings: dict[str, Any]) -> None:
    """Leave JupyterLab's own share button out of this server's pages.

    Args:
        settings: of the server's web application; a hook for page configurations that is there already stays.
    """
    before: Hook | None = settings.get("page_config_hook")

    def hook(handler: Any, page_config: dict[str, Any]) -> dict[str, Any]:
        if before is not None:
            page_config = before(handler, page_config)
        disabled = page_config.get("disabledExtensions") or []
        return page_config | {"disabledExtensions": [*disabled, *HIDDEN_PLUGINS]}

    settings["page_config_hook"] = hook
