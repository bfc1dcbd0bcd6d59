"""A stand-in authority (`auth.openai.com`) and a stand-in upstream
(`chatgpt.com/backend-api`) on loopback, for tests, demonstrations and measurements.

Stands alone: it imports no other room, and its tokens are made up. A refresh token is
good once; spending it twice kills its whole family, access tokens included, so that a
double spend fails a test by itself.

    async with Sandbox() as sandbox:
        sandbox.issuer_url, sandbox.token_url, sandbox.upstream_url
        sandbox.auth_document()              # a new login, as Codex's auth.json has it
        sandbox.revoke_access_tokens()       # 401 token_invalidated from now on
        sandbox.expire_access_tokens()       # 401 token_expired

`sandbox.tokens` is the `Ledger`: `judge`, `sign_in`, `rotate`, `revoke`,
`revoke_refresh_tokens`, `expire_refresh_tokens`, and two settings to change while it
runs, `access_lifetime_seconds` and `set_reuse("revoke_family"|"refuse"|"tolerate_one")`.

`sandbox.authority`
    counts: `calls`, `refreshes`, `reused`, `waiting`, `max_overlapping_calls`,
    `outcomes`; `records`, a `TokenCall` for each call to the token endpoint.
    `fault(AuthorityFault("drop_after_rotation"), times=1)`, `clear_faults()`.
    `hold.close()`, `hold.release(n)`, `hold.open()`; `gate_follows_rotation`.
    `await wait_for_calls(n)`, `wait_for_waiting(n)`, `wait_for_outcomes(n)`.
    `sign_in`: `account`, `declines`, `approve_device()`, `device_auto_approve`.
`sandbox.upstream`
    counts: `requests`, `statuses`, `abandoned`, `waiting`, `streams.open`; `records`, a
    `RequestRecord` for each request, with the raw header fields.
    `fault(UpstreamFault("answer", status=401, body="{}", path="codex/models"))`.
    `hold` as above (`gate_follows_authorization` puts it after the judgement).
    `streams.script = StreamScript(deltas=500, interval_seconds=0.02)`;
    `streams.gate` with `streams.gate_after_events` stops a response midway.
    `websocket = "accept"`; `extra_headers`.
    `await wait_for_requests(n)`, `wait_for_waiting(n)`, `wait_for_abandoned(n)`.

Besides what Codex calls, `/backend-api/echo` answers what arrived and
`/backend-api/bytes/N` answers N bytes.

Other processes use the authority's listener: `POST /sandbox/control` with
`{"do": NAME, ...}`, `GET /sandbox/report`, `POST /sandbox/login`. A wrong name is
answered with the list of names. `serve_sandbox` is the whole as a service.
"""

from bearerd.sandbox.authority.faults import AuthorityFault
from bearerd.sandbox.authority.grant import Account
from bearerd.sandbox.authority.token_registry import TokenRegistry
from bearerd.sandbox.records import RequestRecord, TokenCall, fingerprint
from bearerd.sandbox.sandbox import Sandbox, serve_sandbox
from bearerd.sandbox.upstream.faults import UpstreamFault
from bearerd.sandbox.upstream.response_events import StreamScript

__all__ = [
    "Account",
    "AuthorityFault",
    "RequestRecord",
    "Sandbox",
    "StreamScript",
    "TokenCall",
    "TokenRegistry",
    "UpstreamFault",
    "fingerprint",
    "serve_sandbox",
]
