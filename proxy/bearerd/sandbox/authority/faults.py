"""What the stand-in authority can do wrong, and what each fault does to the token.

A call that reaches the authority spends its refresh token, whatever is answered then and
however late: that is the case in which a client loses its login. A call that fails
before that is the exception, and says so: by its kind, or by `before_spending`.

1. Kinds with which the call does not reach the authority; the token stays unspent:
   challenge, proxy_authentication, redirect, reset_before_reading,
   drop_before_rotation, and edge_error with a status of 521, 522, 523 or 1020.
2. Kinds that replace the response; the token is spent, unless `before_spending`:
   answer, empty, html, empty_object, garbage, hang, unauthorized, unauthorized_empty,
   unauthorized_page, rate_limited, maintenance, and edge_error otherwise.
3. Kinds that spoil a grant; the token is spent, and a token that would be refused
   without the fault is refused with it too:
   delay, drop_after_rotation, huge, omit_access_token, omit_refresh_token,
   omit_id_token, bad_id_token,
   other_account: `account_id` is named by `foreign_tokens`, which is all,
       access_token or id_token;
   malformed_token: `token` has `defect`, which is crlf, control, surrogate, empty or
       huge;
   cached_grant: the access token that was issued last is handed out again, or, with
       `issued_seconds_ago`, one with an `iat` in the past;
   cut: the connection ends after `after_bytes` of the response, with a reset if
       `resets`; trickle: one byte each `interval_seconds`; unended: all of the body, but
       the message does not end.
   `before_spending` is for two of them: with delay the token is spent after the delay,
   and with omit_refresh_token not at all (RFC 6749 section 6: it stays valid).
4. without_rotation: a new access token beside the same refresh token, unspent.
5. refuse: the error `code`, with `status` and `form`. A code about the token
   (refresh_token_expired, _reused, _invalidated, invalid_grant, token_expired) ends the
   family, so it is the answer from then on; a code about the client or the request leaves the token
   alone; any other one (temporarily_unavailable, server_error) spends it. With
   `before_spending` all leave it alone.
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
# 521: origin down; 522: connection timed out; 523: no route; 1020: a rule of the edge.
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
# RFC 6749 section 5.2: found out before the grant is looked at.
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
    """What a fault does to the refresh token that was presented."""

    NEVER = "it stays unspent"
    ON_ARRIVAL = "it is spent before the delay"
    AFTER_DELAY = "it is spent after the delay, just before the response"
    ENDS_FAMILY = "its whole family ends on arrival"


@dataclass(frozen=True, slots=True)
class AuthorityFault(Fault):
    """One thing that the authority does wrong; see above for the kinds.

    `rotates` and `rotate_before_delay` are older names: `rotates=False` is
    `before_spending`, and `rotate_before_delay=False` spends after the delay.

    Raises:
        ValueError: a field is none of its choices, or contradicts the kind.
    """

    kind: AuthorityFaultKind
    before_spending: bool = False
    rotates: bool | None = None
    rotate_before_delay: bool | None = None
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
        """Raise ValueError if the fields disagree on whether the token is spent."""
        if self.rotates and (self.before_spending or self._is_unreached):
            raise ValueError(f"this {self.kind!r} does not reach the authority")
        always_spends = self.needs_grant and self.kind != "without_rotation"
        may_spare = {"delay", "omit_refresh_token"}
        if always_spends and (
            self.rotates is False
            or (self.before_spending and self.kind not in may_spare)
        ):
            raise ValueError(f"a fault of the kind {self.kind!r} always rotates")

    @property
    def needs_grant(self) -> bool:
        """True if the response is made of a grant."""
        return self.kind in get_args(GrantFaultKind)

    @property
    def drops(self) -> bool:
        """True if the connection is reset instead of a response."""
        return self.kind in {
            "reset_before_reading",
            "drop_before_rotation",
            "drop_after_rotation",
        }

    @property
    def spending(self) -> Spending:
        """What becomes of the refresh token."""
        spares = self.before_spending or self.rotates is False
        if self.kind == "delay" and spares:
            return Spending.AFTER_DELAY
        if spares or self._is_unreached or self.kind == "without_rotation":
            return Spending.NEVER
        if self.kind == "refuse" and self.code in REQUEST_CODES:
            return Spending.NEVER
        if self.kind == "refuse" and self.code in TOKEN_CODES:
            return Spending.ENDS_FAMILY
        if self.rotate_before_delay is False:
            return Spending.AFTER_DELAY
        return Spending.ON_ARRIVAL

    @property
    def _is_unreached(self) -> bool:
        """True if the call does not reach the authority."""
        if self.kind == "edge_error":
            return self.status in UNREACHED_EDGE_STATUSES
        return self.kind in UNREACHED_KINDS
