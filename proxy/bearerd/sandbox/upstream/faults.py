"""What the stand-in upstream can do wrong: values."""

from dataclasses import dataclass
from typing import Literal, get_args

from bearerd.sandbox.fault_queue import Fault, require_kind

UpstreamFaultKind = Literal[
    "delay",
    "hang",
    "answer",
    "reset_before_head",
    "reset_mid_stream",
    "short_body",
]


@dataclass(frozen=True, slots=True)
class UpstreamFault(Fault):
    """One thing the upstream does wrong.

    `path` limits it to one path under `/backend-api/`, such as `codex/models`.
    `status`, `body`, `html`, `retry_after` and `before_body` (answer while the request
    body is still on its way) shape the kind `answer`. `after_events` counts the events
    that go out before `reset_mid_stream`. With `judged_first` a delay or hang comes
    after the credential was judged, so that a late response can be staged.
    """

    kind: UpstreamFaultKind
    judged_first: bool = False
    status: int = 401
    before_body: bool = False
    after_events: int = 3

    def __post_init__(self) -> None:
        require_kind(self.kind, get_args(UpstreamFaultKind))
