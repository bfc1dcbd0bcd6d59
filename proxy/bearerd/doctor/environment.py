"""Where the settings come from, and what of the environment is left unused. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from bearerd.doctor.findings import Finding, ok, warning

PROXIES = ("https_proxy", "http_proxy", "all_proxy")
"""As curl reads them, in either case."""


def check_surroundings(
    environ: Mapping[str, str],
    names: Collection[str],
    *,
    prefix: str,
    config: Path | None,
    has_proxy: bool,
) -> Iterator[Finding]:
    """Name the origins of settings, and proxies that are set and not used.

    *names* are those of all settings; *config* is the file that was read, if any.
    """
    variables = sorted(
        variable
        for variable in environ
        if variable.startswith(prefix)
        and variable.removeprefix(prefix).lower() in names
    )
    origins = [f"file {config}" if config else "no file"]
    origins.append(f"environment {', '.join(variables)}" if variables else "defaults")
    yield ok("settings", f"loaded: {'; '.join(origins)}")
    proxies = [name for name in environ if name.lower() in PROXIES and environ[name]]
    if proxies and not has_proxy:
        yield warning(
            "proxy",
            f"{', '.join(sorted(proxies))} is set and not used: bearerd goes straight "
            "out, unless upstream_proxy says otherwise",
            "nothing, if the network lets it; `bearerd doctor --online` tells",
        )
