"""Control of a running sandbox over HTTP, for other processes and shell scripts.

It adds no behaviour: each command is one call to the authority, the upstream or the
token registry.

`POST /sandbox/control` takes `{"do": NAME, ...}` and returns `{"done", "result"}`. The
response to an unknown name lists the names; that to a wrong argument has the reason.

    revoke_access_tokens, expire_access_tokens, revoke_refresh_tokens,
    expire_refresh_tokens {account_id?}: end the tokens issued so far.
    set_access_lifetime {seconds}: for tokens issued from now on.
    set_reuse {reuse, grace_seconds?}: revoke_family, refuse, tolerate_one, grace_period.
    set_clock {at, server?}, jump_clock {seconds, server?}, skew_clock {seconds, server?}:
        the clock of the authority (default) or the upstream.
    register_client, unregister_client {client_id}.
    set_client_rejection {code?, status?, form?}: the response to unregistered clients.
    authority_fault, upstream_fault {kind, times?, ...}: see `authority.faults`,
        `upstream.faults` and `fault_queue`. clear_faults.
    incident {seconds?}, end_incident: both servers respond to everything with a plain 401.
    hold_authority, release_authority, hold_upstream, release_upstream: calls are held
        before they arrive. hold_authority_responses, release_authority_responses,
        hold_upstream_responses, release_upstream_responses: responses are held.
    hold_streams {after_events?}, release_streams: streams are held in the middle.
    set_stream {deltas?, delta_bytes?, interval_seconds?, stamped?}.
    set_usage {primary_used_percent?, primary_reset_seconds?, secondary_...}.
    set_websocket {mode}: accept or refuse.
    sign_in_as {account}, approve_device {user_code?}.

`GET /sandbox/report` returns the counters, without a secret. `POST /sandbox/login`
returns a new login in the format of Codex's `auth.json`; it accepts `?account=` and
`?issued_seconds_ago=`.
"""

import json
from collections.abc import Callable
from typing import Protocol

from aiohttp import web

from bearerd.sandbox.authority.authority import Authority
from bearerd.sandbox.authority.clients import ClientRejection
from bearerd.sandbox.authority.faults import AuthorityFault
from bearerd.sandbox.authority.grant import Account
from bearerd.sandbox.authority.token_registry import TokenRegistry
from bearerd.sandbox.clock import ServerClock
from bearerd.sandbox.incident import Incident
from bearerd.sandbox.listener import Handler
from bearerd.sandbox.responses import error_response
from bearerd.sandbox.upstream.faults import UpstreamFault
from bearerd.sandbox.upstream.response_events import StreamScript
from bearerd.sandbox.upstream.upstream import Upstream
from bearerd.sandbox.upstream.usage import Usage

Command = Callable[..., object]


class SignInAccount(Protocol):
    """Signs an account in and returns its login in the format of `auth.json`."""

    def __call__(self, account: str, *, issued_seconds_ago: float) -> dict[str, object]:
        """Return a new login of `account`."""


class Control:
    """Owns the table of commands. The objects that they change belong to the sandbox."""

    def __init__(
        self,
        registry: TokenRegistry,
        authority: Authority,
        upstream: Upstream,
        *,
        incident: Incident,
        sign_in: SignInAccount,
    ) -> None:
        self._registry = registry
        self._authority = authority
        self._upstream = upstream
        self._incident = incident
        self._sign_in = sign_in
        self._commands: dict[str, Command] = {
            **self._token_commands(),
            **self._fault_commands(),
            **self._upstream_commands(),
        }

    def _token_commands(self) -> dict[str, Command]:
        """Return the commands for tokens, clients, clocks and sign-ins."""
        registry, authority = self._registry, self._authority
        return {
            "revoke_access_tokens": registry.revoke_access_tokens,
            "expire_access_tokens": registry.expire_access_tokens,
            "revoke_refresh_tokens": registry.revoke_refresh_tokens,
            "expire_refresh_tokens": registry.expire_refresh_tokens,
            "set_access_lifetime": self._set_access_lifetime,
            "set_reuse": registry.set_reuse,
            "set_clock": self._set_clock,
            "jump_clock": self._jump_clock,
            "skew_clock": self._skew_clock,
            "register_client": authority.clients.register,
            "unregister_client": authority.clients.unregister,
            "set_client_rejection": self._set_client_rejection,
            "sign_in_as": self._sign_in_as,
            "approve_device": authority.sign_in.approve_device,
        }

    def _fault_commands(self) -> dict[str, Command]:
        """Return the commands for faults, incidents and gates."""
        authority, upstream = self._authority, self._upstream
        return {
            "authority_fault": self._authority_fault,
            "upstream_fault": self._upstream_fault,
            "clear_faults": self._clear_faults,
            "incident": self._incident.begin,
            "end_incident": self._incident.end,
            "hold_authority": authority.gate.close,
            "release_authority": authority.gate.open,
            "hold_authority_responses": authority.response_gate.close,
            "release_authority_responses": authority.response_gate.open,
            "hold_upstream": upstream.gate.close,
            "release_upstream": upstream.gate.open,
            "hold_upstream_responses": upstream.response_gate.close,
            "release_upstream_responses": upstream.response_gate.open,
            "hold_streams": self._hold_streams,
            "release_streams": upstream.streams.gate.open,
        }

    def _upstream_commands(self) -> dict[str, Command]:
        """Return the commands for the shape of the upstream's responses."""
        return {
            "set_stream": self._set_stream,
            "set_usage": self._set_usage,
            "set_websocket": self._set_websocket,
        }

    def routes(self) -> dict[tuple[str, str], Handler]:
        """Return the handlers, by method and path."""
        return {
            ("POST", "/sandbox/control"): self.handle_command,
            ("GET", "/sandbox/report"): self.handle_report,
            ("POST", "/sandbox/login"): self.handle_login,
        }

    def report(self) -> dict[str, object]:
        """Return the counters and the state of both servers."""
        authority, upstream = self._authority, self._upstream
        return {
            "calls": authority.calls,
            "refreshes": authority.refreshes,
            "reused": authority.reused,
            "outcomes": dict(authority.outcomes),
            "max_overlapping_calls": authority.max_overlapping_calls,
            "waiting": authority.waiting,
            "waiting_responses": authority.response_gate.waiting,
            "access_lifetime_seconds": self._registry.access_lifetime_seconds,
            "device_codes": authority.sign_in.waiting_user_codes,
            "clock_skew_seconds": authority.clock.skew_seconds,
            "incident": self._incident.is_active,
            "upstream": {
                "requests": upstream.requests,
                "statuses": {str(k): n for k, n in sorted(upstream.statuses.items())},
                "abandoned": upstream.abandoned,
                "waiting": upstream.waiting,
                "waiting_responses": upstream.response_gate.waiting,
                "open_streams": upstream.streams.open,
                "waiting_streams": upstream.streams.gate.waiting,
                "clock_skew_seconds": upstream.clock.skew_seconds,
            },
        }

    async def handle_command(self, request: web.BaseRequest) -> web.StreamResponse:
        """POST /sandbox/control: run one command; a 400 has the reason if it fails."""
        try:
            arguments = json.loads(await request.read())
            name = arguments.pop("do")
            command = self._commands[name]
        except (ValueError, AttributeError, KeyError, TypeError):
            names = ", ".join(sorted(self._commands))
            message = f'Send {{"do": NAME, ...}}, where NAME is one of {names}.'
            return error_response(400, "unknown_command", message)
        try:
            result = command(**arguments)
        except (TypeError, ValueError) as error:
            return error_response(400, "bad_command", f"{name}: {error}")
        return web.json_response({"done": name, "result": result})

    async def handle_report(self, _request: web.BaseRequest) -> web.StreamResponse:
        """GET /sandbox/report."""
        return web.json_response(self.report())

    async def handle_login(self, request: web.BaseRequest) -> web.StreamResponse:
        """POST /sandbox/login: a new login of an account."""
        account_id = request.query.get(
            "account", self._authority.sign_in.account.account_id
        )
        try:
            age_seconds = float(request.query.get("issued_seconds_ago", "0"))
        except ValueError as error:
            return error_response(400, "bad_login", f"issued_seconds_ago: {error}")
        return web.json_response(
            self._sign_in(account_id, issued_seconds_ago=age_seconds)
        )

    def _set_access_lifetime(self, seconds: float) -> None:
        self._registry.access_lifetime_seconds = float(seconds)

    def _set_clock(self, at: float, server: str = "authority") -> None:
        self._clock(server).set(float(at))

    def _jump_clock(self, seconds: float, server: str = "authority") -> None:
        self._clock(server).jump(float(seconds))

    def _skew_clock(self, seconds: float, server: str = "authority") -> None:
        self._clock(server).skew(float(seconds))

    def _clock(self, server: str) -> ServerClock:
        clocks = {"authority": self._authority.clock, "upstream": self._upstream.clock}
        if server not in clocks:
            raise ValueError(f"server must be authority or upstream; got {server!r}")
        return clocks[server]

    def _set_client_rejection(self, **fields: object) -> None:
        self._authority.clients.reject_with(ClientRejection(**fields))  # type: ignore[arg-type]

    def _authority_fault(self, times: int | None = None, **fields: object) -> None:
        self._authority.fault(AuthorityFault(**fields), times=times)  # type: ignore[arg-type]

    def _upstream_fault(self, times: int | None = None, **fields: object) -> None:
        self._upstream.fault(UpstreamFault(**fields), times=times)  # type: ignore[arg-type]

    def _clear_faults(self) -> None:
        self._authority.clear_faults()
        self._upstream.clear_faults()

    def _hold_streams(self, after_events: int = 0) -> None:
        self._upstream.streams.gate_after_events = int(after_events)
        self._upstream.streams.gate.close()

    def _set_stream(self, **fields: object) -> None:
        self._upstream.streams.script = StreamScript(**fields)  # type: ignore[arg-type]

    def _set_usage(self, **fields: object) -> None:
        self._upstream.usage = Usage(**fields)  # type: ignore[arg-type]

    def _set_websocket(self, mode: str) -> None:
        if mode not in {"accept", "refuse"}:
            raise ValueError(f"mode must be accept or refuse; got {mode!r}")
        self._upstream.websocket = "accept" if mode == "accept" else "refuse"

    def _sign_in_as(self, account: str) -> None:
        self._authority.sign_in.account = Account(account)
