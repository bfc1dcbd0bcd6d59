"""The faults of the stand-in authority, and their effect on the refresh token.

A call that reaches the authority spends its refresh token, whatever the response is and
however late it is sent: this is how a client loses its login. A call that fails before
that is the exception, and the fault states it: by its kind, or by `before_spending`.

1. The call does not reach the authority, and the token stays unspent:
   challenge, proxy_authentication, redirect, reset_before_reading,
   drop_before_rotation, and edge_error with status 521, 522, 523 or 1020.
2. The fault replaces the response, and the token is spent, unless `before_spending`:
   answer, empty, html, empty_object, garbage, hang, unauthorized, unauthorized_empty,
   unauthorized_page, rate_limited, maintenance, and edge_error with another status.
3. The fault alters the grant, or the delivery of the response, and the token is spent. A
   token that is refused without the fault is refused with it too:
   delay, drop_after_rotation, huge, omit_access_token, omit_refresh_token,
   omit_id_token, bad_id_token,
   other_account: the tokens in `foreign_tokens` (all, access_token or id_token) name
       the account `account_id`;
   malformed_token: `token` has the `defect` crlf, control, surrogate, empty or huge;
   cached_grant: the last access token is issued again or, with `issued_seconds_ago`, a
       new one with an `iat` in the past;
   cut: the connection is closed after `after_bytes` of the response, with a reset if
       `resets`; trickle: one byte every `interval_seconds`; unended: the whole body is
       sent, but the message does not end.
   `before_spending` is allowed for two of them: with delay the token is spent after the
   delay, and with omit_refresh_token it is not spent (RFC 6749 section 6: it stays
   valid).
4. without_rotation: a new access token with the same refresh token, which stays unspent.
5. refuse: the error `code`, with `status` and `form`. A code about the token
   (refresh_token_expired, _reused, _invalidated, invalid_grant, token_expired) ends the
   family, so later calls get that code too. A code about the client or the request does
   not affect the token. Any other code (temporarily_unavailable, server_error) spends
   it. With `before_spending`, no code affects the token.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Literal, TypeAlias, get_args

from bearerd.sandbox.fault_queue import CommonKind, Fault, require_choice

DeliveryKind: TypeAlias = Literal["cut", "trickle", "unended"]

GrantFaultKind: TypeAlias = Literal[
    "delay",
    "drop_after_rotation",
    "huge",
    "omit_access_token",
    "omit_refresh_token",
    "omit_id_token",
    "bad_id_token",
    "other_account",
    "malformed_token",
    "cached_grant",
    "without_rotation",
    DeliveryKind,
]

AuthorityFaultKind: TypeAlias = Literal[
    GrantFaultKind,
    CommonKind,
    "reset_before_reading",
    "drop_before_rotation",
    "hang",
    "empty",
    "html",
    "empty_object",
    "garbage",
    "refuse",
]

ForeignTokens = Literal["all", "access_token", "id_token"]
TokenName = Literal["access_token", "refresh_token", "id_token"]
TokenDefect = Literal["crlf", "control", "surrogate", "empty", "huge"]
ErrorForm = Literal["object", "string"]

UNREACHED_KINDS = frozenset(
    {
        "challenge",
        "proxy_authentication",
        "redirect",
        "reset_before_reading",
        "drop_before_rotation",
    }
)
# 521: origin down; 522: connection timed out; 523: no route; 1020: a firewall rule.
UNREACHED_EDGE_STATUSES = frozenset({521, 522, 523, 1020})

TOKEN_CODES = frozenset(
    {
        "invalid_grant",
        "refresh_token_expired",
        "refresh_token_invalidated",
        "refresh_token_reused",
        "token_expired",
    }
)
# RFC 6749 section 5.2: errors that are detected before the grant is checked.
REQUEST_CODES = frozenset(
    {
        "invalid_client",
        "invalid_request",
        "invalid_scope",
        "unauthorized_client",
        "unsupported_grant_type",
    }
)


class Spending(Enum):
    """The effect of a fault on the presented refresh token."""

    NEVER = "it stays unspent"
    ON_ARRIVAL = "it is spent before the delay"
    AFTER_DELAY = "it is spent after the delay, just before the response"
    ENDS_FAMILY = "its whole family ends on arrival"


@dataclass(frozen=True, slots=True)
class AuthorityFault(Fault):
    """A fault of the authority; the module lists the kinds.

    Raises:
        ValueError: a field has a value that is not allowed, or contradicts the kind.
    """

    kind: AuthorityFaultKind
    before_spending: bool = False
    code: str = "refresh_token_invalidated"
    form: ErrorForm | None = None
    account_id: str = "acct-sandbox-other"
    foreign_tokens: ForeignTokens = "all"
    token: TokenName = "access_token"  # noqa: S105 - the name of a field
    defect: TokenDefect = "crlf"
    issued_seconds_ago: float | None = None
    after_bytes: int = 0
    resets: bool = False
    interval_seconds: float = 0.001
    path: str = "/oauth/token"

    def __post_init__(self) -> None:
        super(AuthorityFault, self).__post_init__()
        require_choice("a fault's kind", self.kind, get_args(AuthorityFaultKind))
        require_choice("foreign_tokens", self.foreign_tokens, get_args(ForeignTokens))
        require_choice("token", self.token, get_args(TokenName))
        require_choice("defect", self.defect, get_args(TokenDefect))
        self._require_consistency()

    def _require_consistency(self) -> None:
        """Raise ValueError if the fields contradict each other on spending the token."""
        exceptions = {"delay", "omit_refresh_token", "without_rotation"}
        if self.before_spending and self.needs_grant and self.kind not in exceptions:
            raise ValueError(f"a fault of the kind {self.kind!r} always spends")

    @property
    def needs_grant(self) -> bool:
        """True if the response contains a grant."""
        return self.kind in get_args(GrantFaultKind)

    @property
    def drops(self) -> bool:
        """True if the connection is reset and no response is sent."""
        return self.kind in {
            "reset_before_reading",
            "drop_before_rotation",
            "drop_after_rotation",
        }

    @property
    def spending(self) -> Spending:
        """The effect on the refresh token."""
        if self.kind == "delay" and self.before_spending:
            return Spending.AFTER_DELAY
        if (
            self.before_spending
            or self._is_unreached
            or self.kind == "without_rotation"
        ):
            return Spending.NEVER
        if self.kind == "refuse" and self.code in REQUEST_CODES:
            return Spending.NEVER
        if self.kind == "refuse" and self.code in TOKEN_CODES:
            return Spending.ENDS_FAMILY
        return Spending.ON_ARRIVAL

    @property
    def _is_unreached(self) -> bool:
        """True if the call does not reach the authority."""
        if self.kind == "edge_error":
            return self.status in UNREACHED_EDGE_STATUSES
        return self.kind in UNREACHED_KINDS
