"""Runs all checks, in the order in which their remedies are best applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bearerd import __version__
from bearerd.clock import Clock
from bearerd.doctor.codex import Version
from bearerd.doctor.environment import check_environment
from bearerd.doctor.findings import Finding, skipped
from bearerd.doctor.listeners import GetJson, check_listeners
from bearerd.doctor.login import check_login
from bearerd.doctor.storage import check_storage
from bearerd.files.mounts import Mount
from bearerd.settings import Settings
from bearerd.settings.folders import rescue_path
from bearerd.settings.sources import PREFIX

NOT_ONLINE = skipped(
    "network", "no other machine was contacted; `bearerd doctor --online` does that"
)


@dataclass(frozen=True, slots=True)
class Machine:
    """What the checks need to know of this machine.

    *config* is the config file that was read, if any; *codex* is the path of Codex's own
    `auth.json`; *codex_version* is None if Codex is not installed.
    """

    environ: Mapping[str, str]
    config: Path | None
    codex: Path
    mounts: Sequence[Mount]
    clock: Clock
    get_json: GetJson
    codex_version: Version | None = None


async def run_checks(
    settings: Settings, machine: Machine, *, is_online: bool
) -> list[Finding]:
    """Run all checks and return their findings, those of the network if *is_online*."""
    findings = list(
        check_environment(
            machine.environ,
            Settings.model_fields,
            prefix=PREFIX,
            config=machine.config,
            has_proxy=settings.upstream_proxy is not None,
        )
    )
    for profile in settings.profiles.values():
        rescue = rescue_path(profile.store)
        found = await check_storage(
            profile.store, rescue, machine.clock, machine.mounts
        )
        found += await check_login(
            profile.store, machine.clock, machine.codex, machine.codex_version
        )
        findings += [replace(finding, profile=profile.name) for finding in found]
    findings += check_listeners(
        settings.listen, settings.admin_listen, __version__, machine.get_json
    )
    findings += await _online(settings, machine.clock) if is_online else [NOT_ONLINE]
    return findings


async def _online(settings: Settings, clock: Clock) -> list[Finding]:
    """Contact each pair of authority and upstream once, however many profiles have it."""
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
