"""The small JSON answers of the stand-in upstream: models, usage, accounts.

Pure; the fields are those that clients read.
"""

from bearerd.sandbox.authority.grant import Account
from bearerd.sandbox.records import RequestRecord

FIVE_HOURS_SECONDS = 5 * 3600
ONE_WEEK_SECONDS = 7 * 24 * 3600


def resource(
    path: str, account: Account, now: float, workspace_backend_origin: str
) -> dict[str, object] | None:
    """Return what a GET of this path answers; None if there is nothing."""
    if path == "codex/models":
        return models()
    if path == "wham/usage":
        return usage(account, now)
    if path == "wham/accounts/check":
        return accounts_check(account, workspace_backend_origin)
    return None


def models() -> dict[str, object]:
    """GET codex/models: none, so that a client stays with what it was built with."""
    return {"models": []}


def usage(account: Account, now: float) -> dict[str, object]:
    """GET wham/usage: limits that are hardly touched."""
    return {
        "user_id": account.user_id,
        "account_id": account.account_id,
        "email": account.email,
        "plan_type": account.plan_type,
        "rate_limit": {
            "allowed": True,
            "limit_reached": False,
            "primary_window": _window(3, FIVE_HOURS_SECONDS, now),
            "secondary_window": _window(1, ONE_WEEK_SECONDS, now),
        },
        "code_review_rate_limit": None,
        "additional_rate_limits": [],
        "credits": {"has_credits": False, "unlimited": False, "balance": None},
    }


def accounts_check(
    account: Account, workspace_backend_origin: str
) -> dict[str, object]:
    """GET wham/accounts/check: the one account, at the origin that was given."""
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
    """Any method, `echo`: what arrived; header bytes as latin-1."""
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


def _window(used_percent: int, length_seconds: int, now: float) -> dict[str, int]:
    return {
        "used_percent": used_percent,
        "limit_window_seconds": length_seconds,
        "reset_after_seconds": length_seconds,
        "reset_at": int(now) + length_seconds,
    }
