"""The Hub's proxy, and what stands before it: whether WebSockets come through, as browsers open them."""

from __future__ import annotations

from collections.abc import Iterator

from .asking import ask, upgrade
from .check import Check, Place, Scene
from .yjs import UPGRADE_ADVICE


def checks(scene: Scene) -> Iterator[Check]:
    """The checks of this area."""
    yield _websocket(scene)


def _websocket(scene: Scene) -> Check:
    """A browser's document comes this way: through the proxy to the user's own server."""
    name = "proxy.websocket"
    if not scene.hub_url:
        return Check(name, None, "It is not known where browsers find the Hub.", "Give --hub-url.")
    if not scene.token:
        return Check(name, None, "It takes the token of somebody whose server runs: set JUPYTERHUB_API_TOKEN.")
    path = scene.environ.get("JUPYTERHUB_SERVICE_PREFIX", "")
    if scene.place is not Place.SERVER:
        found = ask(f"{scene.hub_api_url}/user", scene.token).json
        path = found.get("servers", {}).get("", {}).get("url", "")
    if not path:
        return Check(name, None, "The token is not of somebody whose server runs, and can be asked.")
    url = f"{_origin(scene.hub_url)}{path}api/events/subscribe"
    found_there = upgrade("ws" + url.removeprefix("http"), scene.token)
    if found_there.opened:
        return Check(name, True, "WebSockets come through the Hub's proxy to a user's server.")
    said = f"{found_there.code or ''} {found_there.reason}".strip()
    return Check(name, False, f"A WebSocket to {url} is not opened: {said}", UPGRADE_ADVICE)


def _origin(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"
