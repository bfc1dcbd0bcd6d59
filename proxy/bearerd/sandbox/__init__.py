"""A stand-in authority (`auth.openai.com`) and a stand-in upstream
(`chatgpt.com/backend-api`) on loopback, for tests, demonstrations and measurements.

It imports no code of the product, so it shares none of its assumptions, and it issues
fake tokens. It is as strict as a real server may be:

- A refresh token can be used once. A second use revokes its whole family, including the
  access tokens, so a test fails if a token is spent twice.
- A call that reaches the authority spends its refresh token, whatever the response is.
  Exceptions are explicit: the kind of a fault, or its `before_spending`.
- Only registered clients may call.
- Each server has its own clock, which sets `iat`, `exp` and the Date field.

    async with Sandbox() as sandbox:
        sandbox.issuer_url, sandbox.token_url, sandbox.upstream_url
        sandbox.auth_document()              # a new login, as Codex's auth.json has it
        sandbox.revoke_access_tokens()       # 401 token_invalidated from now on
        sandbox.expire_access_tokens()       # 401 token_expired
        sandbox.incident(seconds=5)          # a plain 401 to everything, at both

`sandbox.tokens` is the `TokenRegistry`: `introspect`, `sign_in`, `rotate`, `revoke`,
`revoke_refresh_tokens`, `expire_refresh_tokens`, `set_reuse("revoke_family"|"refuse"|
"tolerate_one"|"grace_period")`, and `access_lifetime_seconds`, which may be changed while
it runs.

`sandbox.authority`
    counters: `calls`, `refreshes`, `reused`, `waiting`, `max_overlapping_calls`,
    `outcomes`; `records`, a `TokenCall` for each call to the token endpoint.
    `fault(AuthorityFault("drop_after_rotation"), times=1)`, `clear_faults()`; the kinds
    are in `authority.faults` and `fault_queue`.
    `gate.close()`, `gate.release(n)`, `gate.open()` hold calls before they arrive;
    `response_gate` holds their responses.
    `await wait_for_calls(n)`, `wait_for_waiting(n)`, `wait_for_outcomes(n)`.
    `clock.set(at)`, `clock.jump(seconds)`, `clock.skew(seconds)`.
    `clients`: `register(client_id)`, `unregister(client_id)`, `reject_with(...)`.
    `sign_in`: `account`, `declines`, `approve_device()`, `device_auto_approve`.
`sandbox.upstream`
    counters: `requests`, `statuses`, `abandoned`, `waiting`, `streams.open`; `records`,
    a `RequestRecord` for each request, with the raw header fields.
    `fault(UpstreamFault("unauthorized", path="codex/models"))`; the kinds are in
    `upstream.faults` and `fault_queue`.
    `gate` and `response_gate` as above, before and after the check of the credential.
    `streams.script = StreamScript(deltas=500, interval_seconds=0.02)`;
    `streams.gate` with `streams.gate_after_events` holds a response in the middle.
    `websocket = "accept"`; `extra_headers`; `usage`; `clock`.
    `await wait_for_requests(n)`, `wait_for_waiting(n)`, `wait_for_abandoned(n)`.

In addition to the paths that Codex calls, `/backend-api/echo` returns the request as it
arrived and `/backend-api/bytes/N` returns N bytes.

Other processes control it over HTTP; see `control`. `serve_sandbox` runs it as a service.
"""

from bearerd.sandbox.authority.clients import (
    CODEX_CLIENT_ID,
    DEFAULT_CLIENT_IDS,
    ClientRejection,
)
from bearerd.sandbox.authority.faults import AuthorityFault
from bearerd.sandbox.authority.grant import Account
from bearerd.sandbox.authority.token_registry import TokenRegistry
from bearerd.sandbox.records import RequestRecord, TokenCall, fingerprint
from bearerd.sandbox.sandbox import Sandbox, serve_sandbox
from bearerd.sandbox.upstream.faults import UpstreamFault
from bearerd.sandbox.upstream.response_events import StreamScript
from bearerd.sandbox.upstream.usage import Usage

__all__ = [
    "CODEX_CLIENT_ID",
    "DEFAULT_CLIENT_IDS",
    "Account",
    "AuthorityFault",
    "ClientRejection",
    "RequestRecord",
    "Sandbox",
    "StreamScript",
    "TokenCall",
    "TokenRegistry",
    "UpstreamFault",
    "Usage",
    "fingerprint",
    "serve_sandbox",
]
