"""The checks of settings' sources and of proxy variables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from bearerd.doctor.environment import check_environment
from bearerd.doctor.findings import Finding
from tests.doctor.conftest import verdicts

NAMES = ("client_key", "listen")


def findings_for(
    environ: Mapping[str, str], config: Path | None = None, *, has_proxy: bool = False
) -> list[Finding]:
    """Return what the check finds in *environ*."""
    return list(
        check_environment(
            environ, NAMES, prefix="BEARERD_", config=config, has_proxy=has_proxy
        )
    )


def test_the_sources_of_settings_are_named_without_values() -> None:
    """The value of a variable may be a secret."""
    environ = {"BEARERD_CLIENT_KEY": "made-up", "BEARERD_OTHER": "x", "A": "b"}
    (finding,) = findings_for(environ, Path("/etc/bearerd.toml"))
    assert finding.message == (
        "loaded: file /etc/bearerd.toml; environment BEARERD_CLIENT_KEY"
    )


def test_without_file_and_variables_the_defaults_are_named() -> None:
    """A warning would be wrong: the defaults work."""
    (finding,) = findings_for({})
    assert (finding.verdict, finding.message) == ("ok", "loaded: no file; defaults")


@pytest.mark.parametrize(
    ("environ", "has_proxy", "expected"),
    [
        ({"HTTPS_PROXY": "http://p:1"}, False, ["warning"]),
        ({"http_proxy": "http://p:1"}, False, ["warning"]),
        ({"HTTPS_PROXY": "http://p:1"}, True, []),
        ({"HTTPS_PROXY": ""}, False, []),
        ({"NO_PROXY": "*"}, False, []),
    ],
)
def test_a_proxy_variable_without_an_effect_is_a_warning(
    environ: dict[str, str], has_proxy: bool, expected: list[str]
) -> None:
    """Unless `upstream_proxy` is set."""
    assert verdicts(findings_for(environ, has_proxy=has_proxy), "proxy") == expected
