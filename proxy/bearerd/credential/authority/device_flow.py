"""Signing in by device code: a person types a short code in elsewhere, and we ask.

For machines without a browser. Source: Codex's `run_device_code_login` (codex-rs
login/src/device_code_auth.rs); after RFC 8628 in spirit, with other names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bearerd.clock import Clock
from bearerd.credential.authority.client import (
    AuthorityUnreached,
    DeviceAuthorization,
    SignInAuthority,
)
from bearerd.credential.authority.pkce import SignInFailed
from bearerd.credential.token import Credential

PATIENCE_SECONDS: Final = 15 * 60.0
"""The authority's codes live as long."""

FAILURES: Final = 5
"""So many polls in a row may not reach the authority: a network that comes and goes."""


async def sign_in_by_device(
    authority: SignInAuthority,
    *,
    clock: Clock,
    show: Callable[[DeviceAuthorization], None],
) -> Credential:
    """Return the credential of whoever types in the code that *show* is given.

    Raises:
        SignInFailed: declined, not reached, or nobody came in time.
    """
    device = await authority.start_device()
    show(device)
    deadline = clock.monotonic() + PATIENCE_SECONDS
    failures = 0
    while clock.monotonic() < deadline:
        try:
            code = await authority.poll_device(device)
        except AuthorityUnreached:
            failures += 1
            if failures >= FAILURES:
                raise
        else:
            failures = 0
            if code is not None:
                return await authority.redeem(code)
        await clock.sleep(device.interval_seconds)
    raise SignInFailed(
        "nobody typed the code in within 15 minutes; run `bearerd login --device` again"
    )
