"""Control of a running sandbox over HTTP, for other processes and shell scripts.

`POST /sandbox/control` takes `{"do": NAME, ...}`, `GET /sandbox/report` answers counts
without a secret, `POST /sandbox/login` answers a new login. Adds no behaviour: each
command is one call to the authority, the upstream or the ledger.
"""

import json
from collections.abc import Callable

from aiohttp import web

from bearerd.sandbox.authority.authority import Authority
from bearerd.sandbox.authority.faults import AuthorityFault
from bearerd.sandbox.authority.grant import Account
from bearerd.sandbox.authority.token_registry import TokenRegistry
from bearerd.sandbox.listener import Handler
from bearerd.sandbox.responses import error_response
from bearerd.sandbox.upstream.faults import UpstreamFault
from bearerd.sandbox.upstream.response_events import StreamScript
from bearerd.sandbox.upstream.upstream import Upstream

Command = Callable[..., object]


class Control:
    """Owns the table of commands; everything they change belongs to others."""

    def __init__(
        self,
        registry: TokenRegistry,
        authority: Authority,
        upstream: Upstream,
        *,
        sign_in: Callable[[str], dict[str, object]],
    ) -> None:
        self._registry = registry
        self._authority = authority
        self._upstream = upstream
        self._sign_in = sign_in
        self._commands: dict[str, Command] = {
            "revoke_access_tokens": registry.revoke_access_tokens,
            "expire_access_tokens": registry.expire_access_tokens,
            "revoke_refresh_tokens": registry.revoke_refresh_tokens,
            "expire_refresh_tokens": registry.expire_refresh_tokens,
            "set_access_lifetime": self._set_access_lifetime,
            "set_reuse": registry.set_reuse,
            "authority_fault": self._authority_fault,
            "upstream_fault": self._upstream_fault,
            "clear_faults": self._clear_faults,
            "hold_authority": authority.gate.close,
            "release_authority": authority.gate.open,
            "hold_upstream": upstream.gate.close,
            "release_upstream": upstream.gate.open,
            "hold_streams": self._hold_streams,
            "release_streams": upstream.streams.gate.open,
            "set_stream": self._set_stream,
            "set_websocket": self._set_websocket,
            "sign_in_as": self._sign_in_as,
            "approve_device": authority.sign_in.approve_device,
        }

    def routes(self) -> dict[tuple[str, str], Handler]:
        """Return the handlers, by method and path."""
        return {
            ("POST", "/sandbox/control"): self.obey,
            ("GET", "/sandbox/report"): self.handle_report,
            ("POST", "/sandbox/login"): self.handle_login,
        }

    def report(self) -> dict[str, object]:
        """Return what happened so far, in numbers."""
        authority, upstream = self._authority, self._upstream
        return {
            "calls": authority.calls,
            "refreshes": authority.refreshes,
            "reused": authority.reused,
            "outcomes": dict(authority.outcomes),
            "max_overlapping_calls": authority.max_overlapping_calls,
            "waiting": authority.waiting,
            "access_lifetime_seconds": self._registry.access_lifetime_seconds,
            "device_codes": authority.sign_in.waiting_user_codes,
            "upstream": {
                "requests": upstream.requests,
                "statuses": {str(k): n for k, n in sorted(upstream.statuses.items())},
                "abandoned": upstream.abandoned,
                "waiting": upstream.waiting,
                "open_streams": upstream.streams.open,
                "waiting_streams": upstream.streams.gate.waiting,
            },
        }

    async def obey(self, request: web.BaseRequest) -> web.StreamResponse:
        """POST /sandbox/control: run one command; 400 says what is wrong with it."""
        try:
            asked = json.loads(await request.read())
            name = asked.pop("do")
            command = self._commands[name]
        except (ValueError, AttributeError, KeyError, TypeError):
            names = ", ".join(sorted(self._commands))
            message = f'Send {{"do": NAME, ...}}; NAME is one of {names}.'
            return error_response(400, "unknown_command", message)
        try:
            result = command(**asked)
        except (TypeError, ValueError) as wrong:
            return error_response(400, "bad_command", f"{name}: {wrong}")
        return web.json_response({"done": name, "result": result})

    async def handle_report(self, _request: web.BaseRequest) -> web.StreamResponse:
        """GET /sandbox/report."""
        return web.json_response(self.report())

    async def handle_login(self, request: web.BaseRequest) -> web.StreamResponse:
        """POST /sandbox/login: a new auth document; `?account=` names whose."""
        account_id = request.query.get(
            "account", self._authority.sign_in.account.account_id
        )
        return web.json_response(self._sign_in(account_id))

    def _set_access_lifetime(self, seconds: float) -> None:
        self._registry.access_lifetime_seconds = float(seconds)

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

    def _set_websocket(self, mode: str) -> None:
        if mode not in {"accept", "refuse"}:
            raise ValueError(f"mode is accept or refuse; got {mode!r}")
        self._upstream.websocket = "accept" if mode == "accept" else "refuse"

    def _sign_in_as(self, account: str) -> None:
        self._authority.sign_in.account = Account(account)
