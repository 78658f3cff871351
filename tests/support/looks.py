"""A page as different people see it: light, dark, on a phone; each with a picture, and checked by axe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

_WIDE, _PHONE = {"width": 1200, "height": 800}, {"width": 360, "height": 740}
# What axe looks at: in the dark colours alone are different, on a phone what can be reached.
_LOOKS: dict[str, tuple[str, dict[str, int], dict[str, Any]]] = {
    "light": ("light", _WIDE, {}),
    "dark": ("dark", _WIDE, {"runOnly": ["color-contrast"]}),
    "narrow": ("light", _PHONE, {"runOnly": ["target-size", "scrollable-region-focusable"]}),
}


def assert_everybody_can_read(page: Page, name: str, pictures: Path) -> None:
    """Look at a page that is open in each way.

    Args:
        page: where it is.
        name: what it is called in `pictures`.
        pictures: a folder.

    Raises:
        AssertionError: axe finds fault with it, or it is wider than its window.
    """
    # Without it a phone would show the wide page, and small.
    assert page.locator("meta[name=viewport]").get_attribute("content") == "width=device-width, initial-scale=1"
    for look, (scheme, size, rules) in _LOOKS.items():
        # Nothing is looked at on its way from one look to the next.
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.set_viewport_size(size)
        page.screenshot(path=pictures / f"{name}-{look}.png", animations="disabled")
        found = Axe().run(page, options=rules)
        assert found.violations_count == 0, f"{name}, {look}: {found.generate_report()}"
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide == 0, f"{name}, {look}: it does not fit"
