"""The small JSON answers of the stand-in upstream: models, usage, accounts.

Pure; the fields are those that clients read.
"""

from proxy.sandbox.ledger import Account

FIVE_HOURS_SECONDS = 5 * 3600
ONE_WEEK_SECONDS = 7 * 24 * 3600


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


def _window(used_percent: int, length_seconds: int, now: float) -> dict[str, int]:
    return {
        "used_percent": used_percent,
        "limit_window_seconds": length_seconds,
        "reset_after_seconds": length_seconds,
        "reset_at": int(now) + length_seconds,
    }
