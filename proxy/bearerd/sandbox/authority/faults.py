"""What the stand-in authority can do wrong: values."""

from dataclasses import dataclass
from typing import Literal, get_args

from bearerd.sandbox.fault_queue import Fault, require_kind

AuthorityFaultKind = Literal[
    "delay",
    "hang",
    "drop_before_rotation",
    "drop_after_rotation",
    "answer",
    "empty",
    "html",
    "empty_object",
    "garbage",
    "huge",
    "omit_refresh_token",
    "omit_id_token",
    "bad_id_token",
    "other_account",
    "refuse",
]

_ROTATING = frozenset(
    {
        "delay",
        "drop_after_rotation",
        "huge",
        "omit_refresh_token",
        "omit_id_token",
        "bad_id_token",
        "other_account",
    }
)


@dataclass(frozen=True, slots=True)
class AuthorityFault(Fault):
    """One thing the authority does wrong.

    `rotates` says whether the refresh token is spent all the same; None means what the
    kind suggests. With `rotate_before_delay` it is spent on receipt, otherwise just
    before the response. `status`, `body`, `html` and `retry_after` shape the kind
    `answer`; `code`, `status` and `form` the kind `refuse`; `account_id` the kind
    `other_account`. `path` is where it applies.
    """

    kind: AuthorityFaultKind
    rotate_before_delay: bool = False
    rotates: bool | None = None
    code: str = "refresh_token_invalidated"
    form: Literal["object", "string"] | None = None
    account_id: str = "acct-sandbox-other"
    path: str = "/oauth/token"

    def __post_init__(self) -> None:
        require_kind(self.kind, get_args(AuthorityFaultKind))
        if self.kind in _ROTATING and self.rotates is False:
            raise ValueError(f"a fault of the kind {self.kind!r} always rotates")

    @property
    def drops(self) -> bool:
        """Whether the connection is reset instead of answered."""
        return self.kind in {"drop_before_rotation", "drop_after_rotation"}

    @property
    def spends(self) -> bool:
        """Whether the presented refresh token is spent although this goes wrong."""
        return self.kind in _ROTATING if self.rotates is None else self.rotates
