"""The whole examination: all checks, in the order in which one would mend things."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bearerd import __version__
from bearerd.clock import Clock
from bearerd.doctor.codex import Version
from bearerd.doctor.environment import check_surroundings
from bearerd.doctor.finding import Finding
from bearerd.doctor.listeners import Ask, check_listeners
from bearerd.doctor.login import check_login
from bearerd.doctor.rescue import check_rescue
from bearerd.doctor.storage import check_place
from bearerd.rescue import rescue_place
from bearerd.settings import Settings
from bearerd.settings.origins import PREFIX

NOT_ONLINE = Finding(
    "network",
    "skipped",
    "nothing beyond this machine was asked; `bearerd doctor --online` does",
)


@dataclass(frozen=True, slots=True)
class Machine:
    """What lies around us. *codex* is Codex's file, *mounts* the table of mounts.

    *codex_version* is that of the Codex installed here, None where there is none.
    """

    environ: Mapping[str, str]
    config: Path | None
    codex: Path
    mounts: Path
    clock: Clock
    ask: Ask
    codex_version: Version | None = None


async def examine(
    settings: Settings, machine: Machine, *, is_online: bool
) -> list[Finding]:
    """Run all checks and return what they find."""
    findings = list(
        check_surroundings(
            machine.environ,
            Settings.model_fields,
            prefix=PREFIX,
            config=machine.config,
            has_proxy=settings.upstream_proxy is not None,
        )
    )
    for profile in settings.profiles.values():
        found = await check_place(profile.store, machine.clock, machine.mounts)
        found.append(check_rescue(rescue_place(profile.store)))
        found += await check_login(
            profile.store, machine.clock, machine.codex, machine.codex_version
        )
        findings += [replace(finding, profile=profile.name) for finding in found]
    findings += check_listeners(
        settings.listen, settings.admin_listen, __version__, machine.ask
    )
    findings += await _online(settings, machine.clock) if is_online else [NOT_ONLINE]
    return findings


async def _online(settings: Settings, clock: Clock) -> list[Finding]:
    """Call each pair of authority and upstream once, however many profiles have it."""
    # The HTTP client takes as long to load as all of the other checks take to run.
    from bearerd.builders import authority_client, tls_context  # noqa: PLC0415
    from bearerd.doctor.online import check_online  # noqa: PLC0415

    tls = tls_context(settings)
    pairs = {
        (profile.issuer_url, profile.upstream_url): profile
        for profile in settings.profiles.values()
    }
    findings = []
    for (_, upstream_url), profile in pairs.items():
        async with authority_client(settings, profile, tls) as client:
            findings += await check_online(client, upstream_url, clock)
    return findings
