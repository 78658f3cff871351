"""The server extension in a user's server: on tested versions, enabled, in the mode that is meant, and linked."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata

from .asking import ask
from .check import Check, Place, Scene
from .yjs import own_server

_DISTRIBUTION = "jupyter-rtc-amprenta"
_OURS, _THEIRS = "jupyter_rtc_amprenta", "jupyter_server_ydoc"
# What it is built on: other versions move what is leaned on.
_TESTED = (
    "jupyter-server", "jupyter-collaboration", "jupyter-server-ydoc", "jupyter-ydoc", "pycrdt", "pycrdt-websocket",
)  # fmt: skip


def checks(scene: Scene) -> Iterator[Check]:
    """The checks of this area."""
    if scene.place is not Place.SERVER:
        names = ("versions", "enabled", "mode", "documents")
        yield from (Check(f"extension.{name}", None, "It runs in users' servers: ask there.") for name in names)
        return
    yield _versions()
    yield _enabled()
    yield from _running(scene)


def _versions() -> Check:
    from packaging.requirements import Requirement

    name, wrong = "extension.versions", []
    required = {one.name: one for one in map(Requirement, metadata.requires(_DISTRIBUTION) or []) if not one.marker}
    for package in _TESTED:
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            wrong.append((f"{package} is not installed", package))
        else:
            if not required[package].specifier.contains(version, prereleases=True):
                wrong.append((f"{package} is {version}", package))
    if wrong:
        wanted = " ".join(f"'{required[package].name}{required[package].specifier}'" for _, package in wrong)
        detail = f"Not what this was tested with: {', '.join(text for text, _ in wrong)}."
        return Check(name, False, detail, f"pip install {wanted}; then restart this server.")
    return Check(name, True, f"{_DISTRIBUTION} {metadata.version(_DISTRIBUTION)}, on versions that it was tested with.")


def _enabled() -> Check:
    from jupyter_core.paths import jupyter_config_dir, jupyter_config_path
    from jupyter_server.extension.config import ExtensionConfigManager

    name = "extension.enabled"
    configured = ExtensionConfigManager(read_config_path=jupyter_config_path()).get_jpserver_extensions()
    off = [extension for extension in (_OURS, _THEIRS) if not configured.get(extension)]
    if off:
        old = " 'jupyter_collaboration' enables nothing any more: it is jupyter_server_ydoc by now." if (
            configured.get("jupyter_collaboration") and _THEIRS in off
        ) else ""  # fmt: skip
        # Whichever of the two wins here: in a virtual environment it is that one's.
        flag = "--user " if jupyter_config_path()[0] == jupyter_config_dir() else ""
        commands = "; ".join(f"jupyter server extension enable {flag}{extension}" for extension in off)
        advice = f"{commands}; then restart this server. For everybody: the same in the image."
        return Check(name, False, f"Not enabled: {', '.join(off)}.{old}", advice)
    return Check(name, True, f"{_OURS} and {_THEIRS} are enabled.")


def _running(scene: Scene) -> Iterator[Check]:
    answer = ask(f"{own_server(scene)}rtc/status", scene.token)
    if "mode" not in answer.json:
        said = answer.text[:100] if answer.status == 0 else str(answer.status)
        yield Check(
            "extension.mode", False, f"This server's /rtc/status does not tell: {said}",
            "If extension.enabled is well, restart the server: its log says why the extension did not load.",
        )  # fmt: skip
        yield Check("extension.documents", None, "The extension does not tell; see above.")
        return
    mode, meant = answer.json["mode"], "linked" if scene.is_linked else "direct"
    if mode == meant:
        yield Check("extension.mode", True, f"Documents are {mode}.")
    else:
        detail = f"The extension is {mode}, and the variables ask for {meant}."
        yield Check("extension.mode", False, detail, "Restart this server; its log says why Amprenta RTC is off.")
    yield _documents(answer.json.get("documents", []), answer.json.get("store", "ok"))


def _documents(documents: list[dict[str, object]], store: str) -> Check:
    name = "extension.documents"
    if store != "ok":
        return Check(
            name, False, f"The local store is {store}: what is typed is not on this server's disk.",
            "Is the disk full, or the folder of RTC_LOCAL_STORE not writable? df -h ~; ls -ld ~/.jupyter",
        )  # fmt: skip
    away = [one for one in documents if one["link"] != "live"]
    if not away:
        return Check(name, True, f"{len(documents)} documents are open, all of them linked.")
    one = away[0]
    advice = (
        "The user is no participant any more, or the document was deleted or reset: its owner invites; then close and "
        "open it."
        if one["link"] == "refused"
        else "See yjs.health and service.health: it is linked again by itself when they are well."
    )
    return Check(name, False, f"{len(away)} of {len(documents)} are not linked: {one['path']}: {one['reason']}", advice)
