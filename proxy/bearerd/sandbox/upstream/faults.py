"""The faults of the stand-in upstream.

The kinds that both stand-ins have are in `fault_queue`; they apply with any credential.
The kinds of the upstream:

account_deactivated: 401 with this code, which a new token does not end.
unauthorized_resource: 401 with `{"detail":"Forbidden"}`, which is not about the token.
usage_limit_reached: 429 as the real upstream sends it, with the usage headers.
delay, hang: before the credential is checked or, with `judged_first`, after it.
reset_before_head: a reset (RST) instead of a response.
reset_mid_stream: a reset after `after_events` events.
short_body: the connection is closed before Content-Length bytes were sent.
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
    """A fault of the upstream; the module lists the kinds.

    `path` is a path under `/backend-api/`, such as `codex/models`. With `before_body`
    the response is sent before the request body is read. With `judged_first` a delay or
    hang follows the check of the credential, so a test can stage a late response.

    Raises:
        ValueError: a field has a value that is not allowed.
    """

    kind: UpstreamFaultKind
    judged_first: bool = False
    before_body: bool = False
    after_events: int = 3

    def __post_init__(self) -> None:
        super(UpstreamFault, self).__post_init__()
        require_choice("a fault's kind", self.kind, get_args(UpstreamFaultKind))
