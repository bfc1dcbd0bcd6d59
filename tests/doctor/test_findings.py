"""The exit code that findings lead to."""

from __future__ import annotations

import pytest

from bearerd.doctor.findings import (
    Finding,
    exit_code,
    failed,
    ok,
    sign_in_needed,
    skipped,
    warning,
)
from bearerd.errors import ExitCode


@pytest.mark.parametrize(
    ("findings", "code"),
    [
        ([], ExitCode.OK),
        ([ok("a", "b"), skipped("a", "b")], ExitCode.OK),
        ([warning("a", "b", "c")], ExitCode.OK),
        ([warning("a", "b", "c"), failed("a", "b", "c")], ExitCode.FAILED),
        ([sign_in_needed("a", "b", "c")], ExitCode.SIGN_IN_NEEDED),
        # A sign-in into a store that cannot be written does not help.
        ([sign_in_needed("a", "b", "c"), failed("a", "b", "c")], ExitCode.FAILED),
    ],
)
def test_the_exit_code_is_that_of_the_failure_to_repair_first(
    findings: list[Finding], code: ExitCode
) -> None:
    """Warnings change nothing."""
    assert exit_code(findings) == code
