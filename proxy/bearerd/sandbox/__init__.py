"""A stand-in authority (`auth.openai.com`) and a stand-in upstream
(`chatgpt.com/backend-api`) on loopback, for tests, demonstrations and measurements.

It imports no other room, so no assumption of bearerd is in it, and its tokens are made
up. It is as strict as a real server may be:

- A refresh token can be used once. A second use revokes its whole family, access tokens
  included, so a test fails by itself when a token is spent twice.
- A call that reaches the authority spends its refresh token, whatever is answered then;
  a fault that spares the token says so (`before_spending`, or its kind).
- Only registered clients may call.
- Each server has a clock of its own, from which `iat`, `exp` and the Date field come.

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
    counts: `calls`, `refreshes`, `reused`, `waiting`, `max_overlapping_calls`,
    `outcomes`; `records`, a `TokenCall` for each call to the token endpoint.
    `fault(AuthorityFault("drop_after_rotation"), times=1)`, `clear_faults()`; the kinds
    are in `authority.faults` and `fault_queue`.
    `gate.close()`, `gate.release(n)`, `gate.open()` hold calls back before they arrive;
    `response_gate` holds their responses back.
    `await wait_for_calls(n)`, `wait_for_waiting(n)`, `wait_for_outcomes(n)`.
    `clock.set(at)`, `clock.jump(seconds)`, `clock.skew(seconds)`.
    `clients`: `register(client_id)`, `unregister(client_id)`, `reject_with(...)`.
    `sign_in`: `account`, `declines`, `approve_device()`, `device_auto_approve`.
`sandbox.upstream`
    counts: `requests`, `statuses`, `abandoned`, `waiting`, `streams.open`; `records`, a
    `RequestRecord` for each request, with the raw header fields.
    `fault(UpstreamFault("unauthorized", path="codex/models"))`; the kinds are in
    `upstream.faults` and `fault_queue`.
    `gate` and `response_gate` as above, before and after the check of the credential.
    `streams.script = StreamScript(deltas=500, interval_seconds=0.02)`;
    `streams.gate` with `streams.gate_after_events` holds a response back midway.
    `websocket = "accept"`; `extra_headers`; `usage`; `clock`.
    `await wait_for_requests(n)`, `wait_for_waiting(n)`, `wait_for_abandoned(n)`.

Besides what Codex calls, `/backend-api/echo` answers what arrived and
`/backend-api/bytes/N` answers N bytes.

Other processes control it over HTTP; see `control`. `serve_sandbox` runs all of it as a
service.
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
