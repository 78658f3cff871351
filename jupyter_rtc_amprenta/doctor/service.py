"""The Hub's service: whether it is well, registered, has its scopes, lets this server in, and can log people in."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

from .asking import Answer, ask
from .check import Check, Place, Scene

_CONFIGURE = (
    "Call jupyterhub_service.configure(c, …) at the end of jupyterhub_config.py and restart the Hub "
    "(where that is done, the service could not start, and the Hub with it: its log says why)"
)
_SERVERS = f"{_CONFIGURE}, then the users' servers: their tokens get their scopes when they start."


def checks(scene: Scene) -> Iterator[Check]:
    """The checks of this area."""
    yield _health(scene)
    yield _registered(scene)
    yield _scopes(scene)
    yield _access(scene)
    yield _oauth(scene)


def _health(scene: Scene) -> Check:
    name, url = "service.health", scene.service_url
    if not url:
        return Check(name, None, "It is not known where it is.", "Set RTC_API_URL, or give --hub-url.")
    answer = ask(f"{url}/health")
    if answer.status == 0:
        return Check(
            name, False, f"{url} does not answer: {answer.text}",
            "Is the Hub running? Its log says whether it started the service; correct RTC_API_URL (service_url or "
            "api_url of configure), which servers must reach: in containers a name, not 127.0.0.1.",
        )  # fmt: skip
    said = answer.json
    if "database" not in said:
        return Check(
            name, False, f"{url} is not the service: /health answers {answer.status}.",
            f"Correct RTC_API_URL; or it is not registered: {_CONFIGURE}.",
        )  # fmt: skip
    if said.get("status") == "ok":
        return Check(name, True, f"{url} is well.")
    trouble = said["database"].get("detail") or f"its Y.js server's log is {said.get('yjs', {}).get('log')}"
    return Check(
        name, False, f"{url} is {said.get('status')}: {trouble}",
        "jupyter-rtc migrate" if "migrate" in trouble else "Run `jupyter-rtc doctor` with the service's environment.",
    )  # fmt: skip


def _registered(scene: Scene) -> Check:
    name = "service.registered"
    if scene.place is Place.SERVICE:
        found = _whoami(scene)
        if found.status != 200:
            return _hub_refuses(name, scene, found)
        if found.json.get("kind") == "service":
            return Check(name, True, f"The Hub knows it as the service {found.json.get('name')}.")
        return Check(name, False, "JUPYTERHUB_API_TOKEN is not a service's.", f"{_CONFIGURE}: it gives the token.")
    url = scene.public_service_url
    if not url:
        return Check(name, None, "It is not known where browsers find the Hub.", "Give --hub-url.")
    answer = ask(f"{url}/health")
    if "database" in answer.json:
        return Check(name, True, f"The Hub's proxy has it at {url}.")
    said = answer.text if answer.status == 0 else str(answer.status)
    return Check(name, False, f"It is not behind the Hub's proxy at {url}: {said}", f"{_CONFIGURE}.")


def _whoami(scene: Scene) -> Answer:
    return ask(f"{scene.hub_api_url}/user", scene.token)


def _hub_refuses(name: str, scene: Scene, answer: Answer) -> Check:
    if answer.status == 0:
        advice = "Start it, or correct JUPYTERHUB_API_URL (c.JupyterHub.hub_connect_url)."
        return Check(name, False, f"The Hub's API at {scene.hub_api_url} does not answer: {answer.text}", advice)
    detail = f"The Hub does not know this token any more: it answers {answer.status}."
    return Check(name, False, detail, "Restart what runs here, by the Hub: it gets a new token.")


def _scopes(scene: Scene) -> Check:
    name = "service.scopes"
    if scene.place is Place.OPERATOR or not scene.hub_api_url or not scene.token:
        return Check(name, None, "The Hub's service and users' servers have tokens with scopes; none is here.")
    found = _whoami(scene)
    if found.status != 200:
        return _hub_refuses(name, scene, found)
    has = set(found.json.get("scopes", []))
    if scene.place is Place.SERVICE:
        lacking = [] if has & {"read:users:name", "read:users", "list:users", "admin:users"} else ["read:users:name"]
    else:
        lacking = [] if any(scope.startswith("access:servers") for scope in has) else ["access:servers!server"]
        if not any(_reaches_service(scope) for scope in has):
            lacking.append("access:services!service=rtc")
    if lacking:
        return Check(name, False, f"The token lacks {', '.join(lacking)}.", _SERVERS)
    return Check(name, True, "The token has the scopes that it needs.")


def _reaches_service(scope: str) -> bool:
    return scope == "access:services" or scope.startswith("access:services!service=")


def _access(scene: Scene) -> Check:
    name = "service.access"
    if scene.place is not Place.SERVER or not scene.service_url or not scene.token:
        return Check(name, None, "Only a user's server asks it with a server's token.")
    # Of a document that there is not: whoever is let in gets as far as finding that out.
    answer = ask(f"{scene.service_url}/api/v1/collaboration/documents/doctor_none", scene.token)
    said = f"{answer.status} {answer.json.get('detail', answer.text[:100])}".strip()
    if answer.status == 404 and "code" in answer.json:
        return Check(name, True, "It lets this server in.")
    if answer.status in (401, 403):
        return Check(name, False, f"It refuses this server's token: {said}", _SERVERS)
    return Check(name, False, f"It does not serve this server: {said}", "See service.health.")


def _oauth(scene: Scene) -> Check:
    name, url = "service.oauth", scene.public_service_url
    if not url:
        return Check(name, None, "It is not known where browsers find the Hub.", "Give --hub-url.")
    answer = ask(f"{url}/")
    target = urlsplit(answer.headers.get("location", ""))
    asked = parse_qs(target.query)
    if answer.status != 302 or not target.path.endswith("/oauth2/authorize"):
        return Check(
            name, False, f"{url}/ does not send people to the Hub to log in: {answer.status or answer.text}",
            f"{_CONFIGURE}; behind a proxy of your own, pass everything under the Hub's path on to it.",
        )  # fmt: skip
    back = urlsplit((asked.get("redirect_uri") or [""])[0]).path
    if back != f"{urlsplit(url).path}/oauth_callback":
        return Check(
            name, False, f"The Hub would send people back to {back or 'nowhere'}.",
            "The service's prefix is not the proxy's: let configure(c) register it, under one name.",
        )  # fmt: skip
    return Check(name, True, "People are sent to the Hub to log in, and back.")
