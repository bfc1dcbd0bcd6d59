"""Sign-in by device code: a person enters a short code in a browser on any machine.

For machines without a browser. bearerd polls for the result. Source: Codex's
`run_device_code_login` (codex-rs login/src/device_code_auth.rs).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bearerd.clock import Clock
from bearerd.credential.authority.client import AuthorityClient
from bearerd.credential.authority.code_grant import exchange
from bearerd.credential.authority.device_code import (
    DeviceAuthorization,
    SlowDown,
    UnclearPoll,
    poll,
    request_user_code,
)
from bearerd.credential.authority.errors import CallFailed, SignInFailed
from bearerd.credential.token import Credential

SIGN_IN_TIMEOUT_SECONDS: Final = 15 * 60.0
"""The lifetime of the authority's device codes."""

MAX_FAILED_POLLS: Final = 5
"""The number of failed polls in a row that ends the sign-in. A single failure does not:
the network may be down for a moment."""

SLOW_DOWN_SECONDS: Final = 5.0
"""RFC 8628 section 3.5: `slow_down` extends the interval of all later polls by this."""


async def sign_in_by_device(
    client: AuthorityClient,
    *,
    clock: Clock,
    show_code: Callable[[DeviceAuthorization], None],
) -> Credential:
    """Return the credential of the person who enters the code.

    *show_code* is called once with the code and the page on which to enter it.

    Raises:
        SignInFailed: the authority refused the sign-in, the code was not entered in time,
            or several polls in a row got no usable response.
        CallFailed: a call got no complete response; for polls, several in a row.
    """
    device = await request_user_code(client)
    show_code(device)
    deadline = clock.monotonic() + SIGN_IN_TIMEOUT_SECONDS
    interval, failed_polls = device.interval_seconds, 0
    while clock.monotonic() < deadline:
        pause = 0.0
        try:
            code = await poll(client, device)
        except SlowDown as slow_down:
            interval += SLOW_DOWN_SECONDS
            pause, failed_polls = slow_down.retry_after_seconds, 0
        except (CallFailed, UnclearPoll):
            failed_polls += 1
            if failed_polls >= MAX_FAILED_POLLS:
                raise
        else:
            failed_polls = 0
            if code is not None:
                return await exchange(client, code)
        await clock.sleep(min(max(interval, pause), SIGN_IN_TIMEOUT_SECONDS))
    raise SignInFailed(
        f"the code was not entered within {SIGN_IN_TIMEOUT_SECONDS / 60:.0f} minutes; "
        "run `bearerd login --device` again"
    )
