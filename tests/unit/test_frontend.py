"""What JupyterLab and Notebook 7 are told by a linked server."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from jupyter_server.auth import IdentityProvider, User

from jupyter_rtc_amprenta.frontend import (
    HIDDEN_PLUGINS,
    colour_of,
    document_url,
    give_colours,
    hide_share_button,
)


def test_a_person_has_one_colour_and_people_have_several() -> None:
    assert colour_of("alice") == colour_of("alice")
    assert len({colour_of(f"user{number}") for number in range(50)}) == 7


def test_who_has_no_colour_is_given_one() -> None:
    provider = IdentityProvider()
    give_colours(provider)
    assert provider.identity_model(User("alice"))["color"] == colour_of("alice")
    assert provider.identity_model(User("alice", color="red"))["color"] == "red"


@pytest.mark.parametrize(
    "before", [None, lambda handler, config: config | {"hub": True}], ids=["alone", "after-another"]
)
def test_the_share_button_is_left_out_beside_what_is_left_out_already(before: Any) -> None:
    application = {} if before is None else {"page_config_hook": before}
    hide_share_button(application)
    config = application["page_config_hook"](None, {"disabledExtensions": ["@a/b:c"]})
    assert config["disabledExtensions"] == ["@a/b:c", *HIDDEN_PLUGINS]
    assert config.get("hub") == (True if before else None)


@pytest.mark.parametrize(
    ("default_url", "enabled", "path", "expected"),
    [
        ("/lab", ["jupyterlab", "notebook"], "a b/x.ipynb", "/user/bob/lab/tree/a%20b/x.ipynb"),
        ("/tree", ["jupyterlab", "notebook"], "a b/x.ipynb", "/user/bob/notebooks/a%20b/x.ipynb"),
        ("/tree", ["jupyterlab", "notebook"], "x.py", "/user/bob/edit/x.py"),
        ("/user/bob/tree", ["jupyterlab", "notebook"], "x.py", "/user/bob/edit/x.py"),
        ("/user/bob/lab", ["jupyterlab", "notebook"], "x.py", "/user/bob/lab/tree/x.py"),
        ("/tree", ["jupyterlab"], "x.py", "/user/bob/lab/tree/x.py"),
        ("/", ["notebook"], "x.ipynb", "/user/bob/notebooks/x.ipynb"),
        ("/", [], "x.ipynb", "/user/bob/lab/tree/x.ipynb"),
    ],
    ids=["jupyterlab", "notebook7", "notebook7-text", "running", "running-lab", "no-notebook7", "no-lab", "neither"],
)
def test_a_document_opens_in_what_its_reader_uses(
    default_url: str, enabled: list[str], path: str, expected: str
) -> None:
    extensions = {name: SimpleNamespace(enabled=name in enabled) for name in ("jupyterlab", "notebook")}
    manager = SimpleNamespace(extensions=extensions)
    serverapp = SimpleNamespace(default_url=default_url, extension_manager=manager, base_url="/user/bob/")
    assert document_url(serverapp, path) == expected  # type: ignore[arg-type]
