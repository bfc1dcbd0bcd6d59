"""`doctor --online`: can the authority and the upstream be reached, and is the clock right?

The calls take the way of the daemon's own: the same proxy, the same certificates. They
are HEAD requests without a token, a cookie or a body.
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Final

from bearerd.clock import Clock
from bearerd.credential.authority.client import AuthorityClient
from bearerd.credential.authority.errors import CallFailed, CallStage
from bearerd.doctor.finding import Finding, failed, ok, warning

CALL_TIMEOUT_SECONDS: Final = 10.0

SKEW_SECONDS: Final = 60.0
"""Smaller differences may be the time on the wire, and Date counts whole seconds."""

NETWORK_REMEDY: Final = "check this machine's network, name service and firewall"


async def check_online(
    client: AuthorityClient, upstream_url: str, clock: Clock
) -> list[Finding]:
    """Call the authority and the upstream, and compare the clock with the authority's.

    The upstream is called by the authority's client too, since both are behind the same
    proxy and trusted by the same certificates.
    """
    authority, date = await _reach(client, "authority", client.issuer_url)
    upstream, _ = await _reach(client, "upstream", upstream_url)
    findings = [authority, upstream]
    if date is not None:
        findings.append(compare_clocks(date, clock.now()))
    return findings


def compare_clocks(date: str, now: float) -> Finding:
    """Compare a Date header (RFC 9110 section 6.6.1) with *now*, in epoch seconds."""
    try:
        server_now = parsedate_to_datetime(date).timestamp()
    except ValueError:
        return Finding("clock", "skipped", "the authority sends no valid Date")
    skew_seconds = now - server_now
    if abs(skew_seconds) > SKEW_SECONDS:
        side = "fast" if skew_seconds > 0 else "slow"
        return warning(
            "clock",
            f"this machine's clock is {abs(skew_seconds):.0f} s {side}, so bearerd "
            "judges wrongly when a token expires",
            "set the clock, for instance by NTP",
        )
    return ok("clock", "agrees with the authority's")


async def _reach(
    client: AuthorityClient, topic: str, url: str
) -> tuple[Finding, str | None]:
    """Send one HEAD request; return the finding, and the Date of the response.

    A response with any status shows that the server is reached.
    """
    try:
        response = await client.request(
            "HEAD", url, timeout_seconds=CALL_TIMEOUT_SECONDS
        )
    except CallFailed as failure:
        is_network = failure.stage is CallStage.CONNECTING
        remedy = NETWORK_REMEDY if is_network else failure.remedy
        return failed(topic, f"{url} is not reached: {failure.detail}", remedy), None
    message = f"{url} answers (status {response.status})"
    return ok(topic, message), response.headers.get("Date")
