"""The Y.js server: whether it is well, takes WebSockets, and knows the tokens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from ..core import protocol
from ..core.errors import ConfigurationError, DatabaseError
from ..core.protocol import CloseCode
from ..core.queries_keys import private_keys
from ..core.tokens import Keyring
from . import database as database_checks
from .asking import Answer, Upgrade, ask, upgrade
from .check import Check, Place, Scene

UPGRADE_ADVICE = (
    "Something between here and there does not pass WebSockets on. In nginx: proxy_http_version 1.1; "
    "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade; "
    "and proxy_read_timeout over 60s."
)
_SAME_KEY = (
    "Give the service and the Y.js server the same RTC_SIGNING_KEY, or none and the same database; restart both."
)


def http_url(url: str) -> str:
    """The same place, for HTTP."""
    return "http" + url.removeprefix("ws")


def checks(scene: Scene) -> Iterator[Check]:
    """The checks of this area."""
    answer = ask(f"{http_url(scene.yjs_url)}/health")
    yield _health(scene, answer)
    if _is_ours(answer):
        yield _websocket(scene)
        yield _token(scene)
    else:
        yield from (Check(f"yjs.{name}", None, "It does not answer; see above.") for name in ("websocket", "token"))


def _is_ours(answer: Answer) -> bool:
    return {"status", "log", "database"} <= answer.json.keys()


def _health(scene: Scene, answer: Answer) -> Check:
    name, url = "yjs.health", scene.yjs_url
    if answer.status == 0 and scene.place is Place.OPERATOR and "YJS_SERVER_URL" not in scene.environ:
        return Check(name, None, f"It is not known where it is, and {url} does not answer.", "Set YJS_SERVER_URL.")
    if answer.status == 0:
        return Check(
            name, False, f"{url} does not answer: {answer.text}",
            "Start it (with the Hub, whose service runs it by default; else docker compose up -d yjs-server, or "
            "jupyter-rtc yjs-server), and look at its log; if it runs, correct yjs_server_url of configure(c, …), or "
            "YJS_SERVER_URL (here: JUPYTER_COLLABORATION_YJS_URL), or join its network: nc -zv HOST PORT",
        )  # fmt: skip
    said = answer.json
    if not _is_ours(answer):
        return Check(
            name, False, f"{url} is no Y.js server of ours: /health answers {answer.status}.",
            "Correct YJS_SERVER_URL (here: JUPYTER_COLLABORATION_YJS_URL): ws://HOST:PORT, without a path.",
        )  # fmt: skip
    if said["status"] == "ok":
        return Check(name, True, f"{url} is well: {said['connections']} connections, {said['rooms']} documents.")
    return Check(name, False, f"{url} is {said['status']}: {_trouble(said)}", _mend(said))


def _trouble(said: dict[str, Any]) -> str:
    parts = [f"{part}: {said[part]}" for part in ("database", "log", "bus") if said.get(part, "ok") != "ok"]
    return "; ".join([*parts, "it is being stopped"] if said.get("draining") else parts)


def _mend(said: dict[str, Any]) -> str:
    if said.get("draining"):
        return "Wait until it has been started again."
    if said["database"] != "ok" or said["log"] != "ok":
        return "Run `jupyter-rtc doctor` where the Y.js server runs, with its environment: it looks at the database."
    return "Start Redis, or correct REDIS_URL; meanwhile edits reach the other replicas a little later."


def _websocket(scene: Scene) -> Check:
    name = "yjs.websocket"
    found = upgrade(_document_url(scene, "doctor"), first=protocol.encode_step_1(b"\0"))
    if found.opened and found.code in (CloseCode.NOT_AUTHENTICATED, CloseCode.TRY_LATER):
        return Check(name, True, "It takes WebSockets, and asks who comes.")
    said = f"{found.code} {found.reason}".strip()
    return Check(name, False, f"A WebSocket can't be opened there: {said}", UPGRADE_ADVICE)


def _document_url(scene: Scene, document_id: str) -> str:
    return f"{scene.yjs_url}/doc/{quote(document_id, safe='')}"


def _token(scene: Scene) -> Check:
    if scene.is_linked:
        return _token_of_service(scene)
    name = "yjs.token"
    if reason := database_checks.why_not(scene):
        return Check(name, None, reason)
    # Of a document that there is not: whoever can check the token gets as far as finding that out.
    document_id = f"doctor_{uuid4().hex}"
    try:
        with closing(database_checks.of(scene)) as database:
            keys = [scene.settings.signing_key] if scene.settings.signing_key else database.call(private_keys)
        if not keys:
            return Check(name, None, "There is no signing key yet: the service makes one when it starts.")
        keyring = Keyring(keys)
    except ConfigurationError as error:
        return Check(name, False, "RTC_SIGNING_KEY can't be read.", str(error))
    except DatabaseError:
        return Check(name, None, "The signing key can't be read from the database; see database.*")
    token = keyring.document_token("doctor", document_id, "read-only", 1, 60)
    found = upgrade(_document_url(scene, document_id), token, protocol.encode_step_1(b"\0"))
    return _judged(name, found, found.code == CloseCode.NO_DOCUMENT)


def _token_of_service(scene: Scene) -> Check:
    """With a document that this server has: the service gives the token, as it does to the link."""
    name = "yjs.token"
    documents = ask(f"{own_server(scene)}rtc/status", scene.token).json.get("documents", [])
    known = [document["document_id"] for document in documents if document.get("document_id")]
    if not known:
        return Check(name, None, "No document is open on this server; open one, and ask again.")
    answer = ask(f"{scene.service_url}/api/v1/collaboration/token", scene.token, {"document_id": known[0]})
    if answer.status != 200:
        said = f"{answer.status} {answer.json.get('detail', '')}".strip()
        return Check(name, False, f"The service gives no token: {said}", "See service.access.")
    found = upgrade(_document_url(scene, known[0]), answer.json["token"], protocol.encode_step_1(b"\0"))
    return _judged(name, found, found.opened and found.code in (0, 1005, 1006))


def _judged(name: str, found: Upgrade, good: bool) -> Check:
    if good:
        return Check(name, True, "It takes a token of the service's.")
    if found.code == CloseCode.TRY_LATER:
        return Check(name, None, f"It takes no one in at present: {found.reason}")
    return Check(name, False, f"It refuses a token of the service's: {found.code} {found.reason}", _SAME_KEY)


def own_server(scene: Scene) -> str:
    """Where this user's own server listens, with a slash at the end."""
    url = scene.environ.get("JUPYTERHUB_SERVICE_URL", "").replace("//0.0.0.0", "//127.0.0.1")
    prefix = scene.environ.get("JUPYTERHUB_SERVICE_PREFIX", "/")
    if scene.place is Place.SERVER and url and not url.rstrip("/").endswith(prefix.rstrip("/")):
        url = url.rstrip("/") + prefix
    return url.rstrip("/") + "/"
