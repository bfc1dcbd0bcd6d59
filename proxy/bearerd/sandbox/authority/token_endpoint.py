"""The steps of a token call at the stand-in authority, after it was recorded.

1. The call passes the gate. A closed gate simulates a call in transit.
2. It arrives, and the refresh token is spent (`faults` lists the exceptions).
3. The delay of its fault passes, and the call passes the response gate. A closed
   response gate simulates a response in transit.
4. The response is sent: that of the fault, the grant or the error.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import get_args

from aiohttp import web

from bearerd.sandbox.authority.clients import ClientRegistry
from bearerd.sandbox.authority.fault_responses import (
    altered_body,
    client_error,
    fault_response,
    grant_body,
    token_error,
)
from bearerd.sandbox.authority.faults import (
    REQUEST_CODES,
    AuthorityFault,
    DeliveryKind,
    Spending,
)
from bearerd.sandbox.authority.grant import Grant, TokenError
from bearerd.sandbox.authority.issuer import Issuer, TokenRequest
from bearerd.sandbox.clock import ServerClock
from bearerd.sandbox.delivery import (
    as_message,
    reset_connection,
    send_cut,
    send_slowly,
    send_without_end,
)
from bearerd.sandbox.gate import Gate
from bearerd.sandbox.records import TokenCall


class TokenEndpoint:
    """Owns `error_status`, which can be changed at any time.

    It replaces the status for a refused refresh token, which is 401 by default. The real
    authority has also sent 400. The gates belong to the authority.
    """

    def __init__(
        self,
        issuer: Issuer,
        clients: ClientRegistry,
        *,
        gate: Gate,
        response_gate: Gate,
        clock: ServerClock,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self.error_status: int | None = None
        self._issuer = issuer
        self._clients = clients
        self._gate = gate
        self._response_gate = response_gate
        self._clock = clock
        self._sleep = sleep

    async def serve(
        self,
        request: web.BaseRequest,
        token_request: TokenRequest,
        call: TokenCall,
        fault: AuthorityFault,
    ) -> web.StreamResponse:
        """Handle a call in the order above, with `fault` applied to it."""
        await self._gate.pass_through()
        if fault.spending is Spending.AFTER_DELAY:
            await self._delay(fault)
        issued = self._issue(token_request, call, fault)
        if fault.spending is not Spending.AFTER_DELAY:
            await self._delay(fault)
        await self._response_gate.pass_through()
        if isinstance(issued, web.Response):
            call.respond(issued.status)
            return issued
        if fault.kind != "delay":
            call.end_with(f"fault:{fault.kind}")
        return await self._respond(request, call, fault, issued)

    def _issue(
        self, token_request: TokenRequest, call: TokenCall, fault: AuthorityFault
    ) -> Grant | web.Response | None:
        """Return the grant, the error, or None if the fault replaces both."""
        try:
            issued = self._issuer.issue(token_request, fault)
        except TokenError as error:
            call.end_with(error.code)
            if not fault.needs_grant:
                return None
            if error.code == "invalid_client":
                return client_error(self._clients.rejection)
            is_about_request = error.code in REQUEST_CODES
            status = None if is_about_request else self.error_status
            return token_error(error.code, status=status)
        call.end_with(issued.outcome, is_rotated=issued.is_rotated)
        return issued.grant

    async def _delay(self, fault: AuthorityFault) -> None:
        if fault.delay_seconds:
            await self._sleep(fault.delay_seconds)

    async def _respond(
        self,
        request: web.BaseRequest,
        call: TokenCall,
        fault: AuthorityFault,
        grant: Grant | None,
    ) -> web.StreamResponse:
        """Send the response of the fault, or the grant with the fault applied."""
        if fault.kind == "hang":
            await asyncio.get_running_loop().create_future()
        if fault.drops:
            reset_connection(request)
            return web.Response()
        response = fault_response(fault, self._clock)
        if response is None:
            assert grant is not None  # noqa: S101 - every other kind needs a grant
            body = grant_body(grant, now=self._clock())
            response = web.json_response(altered_body(fault, body))
        call.respond(response.status)
        if fault.kind in get_args(DeliveryKind):
            await self._deliver(request, response, fault)
        return response

    async def _deliver(
        self, request: web.BaseRequest, response: web.Response, fault: AuthorityFault
    ) -> None:
        """Send the response partly, slowly, or without its end."""
        message = as_message(
            response, self._clock.http_date(), is_chunked=fault.kind == "unended"
        )
        if fault.kind == "cut":
            send_cut(
                request, message, after_bytes=fault.after_bytes, resets=fault.resets
            )
        elif fault.kind == "trickle":
            await send_slowly(
                request,
                message,
                interval_seconds=fault.interval_seconds,
                sleep=self._sleep,
            )
        else:
            await send_without_end(request, message)
