"""Every path of the web page. Only at the Hub's prefix: browsers come through its proxy."""

from __future__ import annotations

from . import api, forms, pages, pages_admin, pages_history
from .api_page import ApiPage
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
    names = ("document_id", "invite_id", "token", "version_id", "username")
    document, invite, token, version, user = (f"({PATTERNS[name]})" for name in names)
    session = f"sessions/{document}"
    handlers: dict[str, type[pages.PageHandler]] = {
        "": pages.IndexHandler,
        session: pages.SessionPage,
        f"{session}/invite": forms.InviteForm,
        f"{session}/link": forms.LinkForm,
        f"{session}/withdraw": forms.WithdrawForm,
        f"{session}/renew": forms.RenewForm,
        f"{session}/people": forms.PeopleForm,
        f"{session}/keep": pages_history.KeepForm,
        f"{session}/versions": pages_history.VersionsPage,
        f"{session}/versions/{version}": pages_history.VersionPage,
        f"{session}/versions/{version}/download": pages_history.VersionDownload,
        f"{session}/versions/{version}/(name|restore)": pages_history.VersionForm,
        f"invites/{invite}/(accept|decline)": forms.AnswerForm,
        f"links/{token}": pages.OfferPage,
        f"links/{token}/accept": forms.OfferForm,
        "admin": pages_admin.AdminSessionsPage,
        f"admin/sessions/{document}": pages_admin.AdminSessionPage,
        f"admin/sessions/{document}/(end|delete)": pages_admin.AdminSessionForm,
        "admin/users": pages_admin.AdminUsersPage,
        f"admin/users/{user}": pages_admin.AdminUserPage,
        f"admin/users/{user}/(disconnect|rename|erase)": pages_admin.AdminUserForm,
        "admin/audit": pages_admin.AuditPage,
    }
    asking = shown | {"rules": rules}
    return [
        (f"{site.prefix}oauth_callback", pages.LoginHandler, shown),
        (f"{site.prefix}api", ApiPage, shown),
        *((site.prefix + path, handler, asking) for path, handler in handlers.items()),
    ]
