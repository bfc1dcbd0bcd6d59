"""The usage of an account's limits, in header fields and in a body.

Pure. Codex reads the `x-codex-*` fields of each response, and the body of `wham/usage`.
"""

from dataclasses import dataclass, fields

from bearerd.sandbox.authority.grant import Account

FIVE_HOURS_SECONDS = 5 * 3600
ONE_WEEK_SECONDS = 7 * 24 * 3600
ALL_PERCENT = 100


@dataclass(frozen=True, slots=True)
class Usage:
    """The used share of both limits, and the seconds until each is reset.

    The primary limit is over five hours, the secondary one over a week.

    Raises:
        ValueError: a value is negative.
    """

    primary_used_percent: int = 3
    primary_reset_seconds: int = FIVE_HOURS_SECONDS
    secondary_used_percent: int = 1
    secondary_reset_seconds: int = ONE_WEEK_SECONDS

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)):
            if getattr(self, name) < 0:
                raise ValueError(
                    f"{name} must be at least 0; got {getattr(self, name)}"
                )

    def header_fields(self, now: float) -> dict[str, str]:
        """Return the header fields of a response; `reset-at` is epoch seconds."""
        return {
            "x-codex-primary-used-percent": str(self.primary_used_percent),
            "x-codex-primary-window-minutes": str(FIVE_HOURS_SECONDS // 60),
            "x-codex-primary-reset-at": str(int(now + self.primary_reset_seconds)),
            "x-codex-secondary-used-percent": str(self.secondary_used_percent),
            "x-codex-secondary-window-minutes": str(ONE_WEEK_SECONDS // 60),
            "x-codex-secondary-reset-at": str(int(now + self.secondary_reset_seconds)),
            "x-codex-credits-has-credits": "false",
            "x-codex-credits-unlimited": "false",
        }

    def body(self, account: Account, now: float) -> dict[str, object]:
        """Return the body of `wham/usage`."""
        reached = self.primary_used_percent >= ALL_PERCENT
        return {
            "user_id": account.user_id,
            "account_id": account.account_id,
            "email": account.email,
            "plan_type": account.plan_type,
            "rate_limit": {
                "allowed": not reached,
                "limit_reached": reached,
                "primary_window": _window(
                    self.primary_used_percent,
                    FIVE_HOURS_SECONDS,
                    self.primary_reset_seconds,
                    now,
                ),
                "secondary_window": _window(
                    self.secondary_used_percent,
                    ONE_WEEK_SECONDS,
                    self.secondary_reset_seconds,
                    now,
                ),
            },
            "code_review_rate_limit": None,
            "additional_rate_limits": [],
            "credits": {"has_credits": False, "unlimited": False, "balance": None},
        }


def _window(
    used_percent: int, length_seconds: int, reset_seconds: int, now: float
) -> dict[str, int]:
    return {
        "used_percent": used_percent,
        "limit_window_seconds": length_seconds,
        "reset_after_seconds": reset_seconds,
        "reset_at": int(now + reset_seconds),
    }
