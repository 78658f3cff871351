"""Every path of the web page. Only at the Hub's prefix: browsers come through its proxy."""

from __future__ import annotations

from . import api, forms, pages
from .base import Context
from .operation import PATTERNS
from .routes import Route
from .site import Site


def page_routes(site: Site, context: Context, rules: api.Rules) -> list[Route]:
    """All paths.

    Args:
        site: where the pages are.
        context: what every handler is given.
        rules: what they ask.
    """
    shown = {"context": context, "site": site}
    document, invite, token = (f"({PATTERNS[name]})" for name in ("document_id", "invite_id", "token"))
    session = f"sessions/{document}"
    handlers: dict[str, type[pages.PageHandler]] = {
        "": pages.IndexHandler,
        session: pages.SessionPage,
        f"{session}/invite": forms.InviteForm,
        f"{session}/link": forms.LinkForm,
        f"{session}/withdraw": forms.WithdrawForm,
        f"{session}/renew": forms.RenewForm,
        f"{session}/people": forms.PeopleForm,
        f"invites/{invite}/(accept|decline)": forms.AnswerForm,
        f"links/{token}": pages.OfferPage,
        f"links/{token}/accept": forms.OfferForm,
    }
    asking = shown | {"rules": rules}
    return [
        (f"{site.prefix}oauth_callback", pages.LoginHandler, shown),
        *((site.prefix + path, handler, asking) for path, handler in handlers.items()),
    ]
