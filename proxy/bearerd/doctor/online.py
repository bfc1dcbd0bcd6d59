"""What lies beyond this machine; asked only when a person says so.

Nothing is sent that tells who asks: no token, no cookie, no body.
"""

from __future__ import annotations

import ssl
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp

from bearerd.clock import Clock
from bearerd.doctor.finding import Finding, failed, ok, warning

RESPONSE_TIMEOUT_SECONDS: Final = 10.0
SKEW_SECONDS: Final = 60.0
"""Less than this is the journey, and the Date header counts whole seconds."""


async def check_online(
    session: aiohttp.ClientSession, *, issuer_url: str, upstream_url: str, clock: Clock
) -> list[Finding]:
    """Reach the authority and the upstream, and compare the clock with the former's."""
    authority, date = await _reach(session, "authority", issuer_url)
    upstream, _ = await _reach(session, "upstream", upstream_url)
    findings = [authority, upstream]
    if date is not None:
        findings.append(compare_clocks(date, clock.now()))
    return findings


def compare_clocks(date: str, now: float) -> Finding:
    """Compare a Date header (RFC 9110 section 6.6.1) with *now*, in epoch seconds."""
    try:
        theirs = parsedate_to_datetime(date).timestamp()
    except ValueError:
        return Finding("clock", "skipped", "the authority does not say what time it is")
    seconds = now - theirs
    if abs(seconds) > SKEW_SECONDS:
        side = "fast" if seconds > 0 else "slow"
        return warning(
            "clock",
            f"this machine's clock is {abs(seconds):.0f} s {side}, so expiry is "
            "judged wrongly",
            "set the clock, for instance by NTP",
        )
    return ok("clock", "agrees with the authority's")


async def _reach(
    session: aiohttp.ClientSession, topic: str, url: str
) -> tuple[Finding, str | None]:
    """Send one HEAD; any response will do."""
    timeout = aiohttp.ClientTimeout(total=RESPONSE_TIMEOUT_SECONDS)
    try:
        async with session.head(
            url, timeout=timeout, allow_redirects=False
        ) as response:
            said = f"{url} answers (status {response.status})"
            return ok(topic, said), response.headers.get("Date")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return _unreached(topic, url, error), None


def _unreached(topic: str, url: str, error: Exception) -> Finding:
    cause = error.__cause__ or getattr(error, "os_error", None) or error
    is_tls = isinstance(error, aiohttp.ClientSSLError) or isinstance(
        cause, ssl.SSLError
    )
    remedy = (
        "if a TLS proxy stands between, set `ca_file` to its certificates"
        if is_tls
        else "look at this machine's network, name service and firewall"
    )
    reason = "no answer in time" if isinstance(error, TimeoutError) else str(cause)
    return failed(topic, f"{url} is not reached: {' '.join(reason.split())}", remedy)
