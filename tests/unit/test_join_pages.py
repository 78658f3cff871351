"""What is said where a document could not be opened."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256

import pytest
from tornado.web import HTTPError

from jupyter_rtc_amprenta import joinpages
from jupyter_rtc_amprenta.core.errors import DatabaseUnavailable, ServiceError, ServiceUnavailable
from jupyter_rtc_amprenta.joinpages import Link, Page, explain

PAGES = [page for page in vars(joinpages).values() if isinstance(page, Page)]


@pytest.mark.parametrize(
    ("error", "page"),
    [
        (ServiceError("no", 403, "not_a_participant"), joinpages.NOT_INVITED),
        (ServiceError("no", 403), joinpages.NOT_INVITED),
        (ServiceError("no", 404, "session_not_found"), joinpages.DELETED),
        (ServiceError("no", 409, "not_opened"), joinpages.NOT_OPENED),
        (ServiceError("no", 413), joinpages.TOO_LARGE),
        (ServiceError("no", 400, "other"), joinpages.FAILED),
        (ServiceUnavailable("away", 599), joinpages.SERVICE_AWAY),
        (ServiceUnavailable("away", 503, "yjs_unavailable"), joinpages.YJS_AWAY),
        (DatabaseUnavailable("away"), joinpages.STORE_AWAY),
        (HTTPError(400, "not a directory"), joinpages.IN_THE_WAY),
        (HTTPError(403, "permission denied"), joinpages.READ_ONLY),
        (OSError("whatever"), joinpages.FAILED),
    ],
    ids=lambda value: value.title if isinstance(value, Page) else None,
)
def test_each_trouble_has_its_page(error: Exception, page: Page) -> None:
    assert explain(error) is page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.title)
def test_every_page_says_what_to_do(page: Page) -> None:
    assert page.status >= 400
    assert page.sentences and page.offers
    shown = replace(page, links=[Link("a button", "/there") for _ in page.offers]).html()
    assert f"<h1>{page.title}</h1>".replace("'", "&#39;") in shown
    assert shown.count('href="/there"') == len(page.offers)
    assert ("http-equiv" in shown) == page.tries_again


def test_what_comes_from_elsewhere_is_escaped() -> None:
    evil = '"><script>alert(1)</script>'
    shown = replace(joinpages.FAILED, detail=evil, links=[Link(evil, f"/x{evil}")]).html()
    assert "<script" not in shown
    assert shown.count("&lt;script&gt;") == 3


def test_the_policy_allows_the_pages_own_style_and_nothing_else() -> None:
    style = re.search(r"<style>(.*?)</style>", joinpages.FAILED.html(), re.DOTALL)
    assert style is not None
    digest = b64encode(sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}';" in joinpages.CONTENT_SECURITY_POLICY
    assert "script-src" not in joinpages.CONTENT_SECURITY_POLICY
    assert joinpages.CONTENT_SECURITY_POLICY.startswith("default-src 'none'")
