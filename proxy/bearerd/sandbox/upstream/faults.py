"""What the stand-in upstream can do wrong.

The kinds that both stand-ins have are in `fault_queue`; they are sent whatever the
request's credential is. The upstream's own:

account_deactivated: 401 with this code, which no new token helps against.
unauthorized_resource: 401 with `{"detail":"Forbidden"}`, which names no token.
usage_limit_reached: 429 as the real upstream sends it, with the usage headers.
delay, hang: before the credential is checked, or after it with `judged_first`.
reset_before_head: a reset (RST) instead of a response.
reset_mid_stream: a reset after `after_events` events.
short_body: an orderly end before the promised length.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from bearerd.sandbox.fault_queue import CommonKind, Fault, require_choice

UpstreamFaultKind: TypeAlias = Literal[
    CommonKind,
    "account_deactivated",
    "unauthorized_resource",
    "usage_limit_reached",
    "delay",
    "hang",
    "reset_before_head",
    "reset_mid_stream",
    "short_body",
]


@dataclass(frozen=True, slots=True)
class UpstreamFault(Fault):
    """One thing that the upstream does wrong; see above for the kinds.

    `path` is a path under `/backend-api/`, such as `codex/models`. With `before_body`
    the response is sent while the request body is still on its way. With `judged_first`
    a delay or hang comes after the check of the credential, so a test can stage a late
    response.

    Raises:
        ValueError: a field is none of its choices.
    """

    kind: UpstreamFaultKind
    judged_first: bool = False
    before_body: bool = False
    after_events: int = 3

    def __post_init__(self) -> None:
        super(UpstreamFault, self).__post_init__()
        require_choice("a fault's kind", self.kind, get_args(UpstreamFaultKind))
