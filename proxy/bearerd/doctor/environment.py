"""Checks the environment: where settings come from, and proxies that are not used."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from bearerd.doctor.findings import Finding, ok, warning

PROXY_VARIABLES = ("https_proxy", "http_proxy", "all_proxy")
"""The variables that curl reads, in lower or upper case."""


def check_environment(
    environ: Mapping[str, str],
    names: Collection[str],
    *,
    prefix: str,
    config: Path | None,
    has_proxy: bool,
) -> Iterator[Finding]:
    """Name the sources of settings, and warn of proxy variables without an effect.

    *names* are all settings, and *prefix* is that of their variables. *config* is the
    file that was read, if any. *has_proxy* is True if `upstream_proxy` is set.
    """
    variables = sorted(
        variable
        for variable in environ
        if variable.startswith(prefix)
        and variable.removeprefix(prefix).lower() in names
    )
    sources = [f"file {config}" if config else "no file"]
    sources.append(f"environment {', '.join(variables)}" if variables else "defaults")
    yield ok("settings", f"loaded: {'; '.join(sources)}")
    proxies = [
        name for name in environ if name.lower() in PROXY_VARIABLES and environ[name]
    ]
    if proxies and not has_proxy:
        yield warning(
            "proxy",
            f"{', '.join(sorted(proxies))} is set and has no effect: bearerd connects "
            "directly, unless upstream_proxy is set",
            "none, if the network allows it; `bearerd doctor --online` checks that",
        )
