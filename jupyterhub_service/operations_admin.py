"""The operations of the Hub's admins."""

from __future__ import annotations

from . import api_admin
from .operation import PAGE, SESSIONS, Operation

AUDIT = ("username", "document_id", "action", "since", "until", *PAGE)

FOR_ADMINS: tuple[Operation, ...] = (
    Operation(
        "get", "/admin/sessions", api_admin.AdminSessionsHandler, "All sessions.", {200: "AllSessions"}, query=SESSIONS
    ),
    Operation(
        "get",
        "/admin/sessions/{document_id}",
        api_admin.AdminSessionHandler,
        "A session from outside: whose it is, and who takes part. It opens nothing.",
        {200: "AnySessionDetails"},
    ),
    Operation(
        "delete",
        "/admin/sessions/{document_id}",
        api_admin.AdminSessionHandler,
        "Delete a document wholly.",
        {204: ""},
        query=("confirm",),
    ),
    Operation(
        "post",
        "/admin/sessions/{document_id}/end",
        api_admin.AdminEndHandler,
        "Leave a session to its owner alone: nobody else takes part, and invites and links are withdrawn.",
        {200: "Ended"},
        query=("confirm",),
    ),
    Operation("get", "/admin/counts", api_admin.AdminCountsHandler, "How much there is.", {200: "Counts"}),
    Operation(
        "get", "/admin/audit", api_admin.AdminAuditHandler, "Who did what, from where.", {200: "Audit"}, query=AUDIT
    ),
    Operation(
        "get",
        "/admin/users",
        api_admin.AdminUsersHandler,
        "Everybody who has been here or was invited; `gone_at` is since when the Hub does not know them.",
        {200: "AllUsers"},
        query=("gone", "name", *PAGE),
    ),
    Operation(
        "post",
        "/admin/users/{username}/disconnect",
        api_admin.AdminDisconnectHandler,
        "End a user's connections and refuse the tokens made for them until now; take them out of everybody else's "
        "sessions, and their invites back.",
        {200: "Disconnected"},
        query=("confirm",),
    ),
    Operation(
        "post",
        "/admin/users/{username}/rename",
        api_admin.AdminRenameHandler,
        "Follow a user whom the Hub calls otherwise now.",
        {200: "Renamed"},
        body="RenameBody",
        refusals=(409,),
    ),
    Operation(
        "get", "/admin/users/{username}", api_admin.AdminUserHandler, "One user.", {200: "AnyUser"}
    ),
    Operation(
        "delete",
        "/admin/users/{username}",
        api_admin.AdminUserHandler,
        "Erase a user; a successor who takes part in their sessions gets them, the others are deleted.",
        {200: "Erased"},
        query=("confirm", "successor"),
    ),
)
