"""The JSON resources of the stand-in upstream: models, usage, accounts and the echo.

Pure. The fields are those that clients read.
"""

from bearerd.sandbox.authority.grant import Account
from bearerd.sandbox.records import RequestRecord
from bearerd.sandbox.upstream.usage import Usage


def resource(
    path: str,
    account: Account,
    *,
    usage: Usage,
    now: float,
    workspace_backend_origin: str,
) -> dict[str, object] | None:
    """Return the body for a GET of `path`, or None if there is no such resource."""
    if path == "codex/models":
        return models()
    if path == "wham/usage":
        return usage.body(account, now)
    if path == "wham/accounts/check":
        return accounts_check(account, workspace_backend_origin)
    return None


def models() -> dict[str, object]:
    """GET codex/models: an empty list, so a client uses its built-in models."""
    return {"models": []}


def accounts_check(
    account: Account, workspace_backend_origin: str
) -> dict[str, object]:
    """GET wham/accounts/check: the account, at `workspace_backend_origin`."""
    return {
        "accounts": [
            {
                "id": account.account_id,
                "name": "Sandbox",
                "structure": "personal",
                "plan_type": account.plan_type,
                "workspace_backend_origin": workspace_backend_origin,
                "account_routing_override": "NO_CONSTRAINT",
            }
        ],
        "account_ordering": [account.account_id],
        "default_account_id": account.account_id,
    }


def echo(record: RequestRecord) -> dict[str, object]:
    """Any method, `echo`: the request as it arrived, with its fields as latin-1."""
    return {
        "method": record.method,
        "raw_path": record.raw_path,
        "headers": [
            [name.decode("latin-1"), value.decode("latin-1")]
            for name, value in record.raw_headers
        ],
        "body_length": record.body_length,
        "body_sha256": record.body_sha256,
    }
