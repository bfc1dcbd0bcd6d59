"""`python -m tests.fuzz.guided KIND SECONDS FOLDER...`: coverage-guided fuzzing.

atheris records which lines of `bearerd.relay` an input reaches, and mutates the inputs
that reached new ones. It writes them to the first folder. A broken property ends the run,
and its input is saved there too. llhttp is C and has no coverage.
"""

from __future__ import annotations

import sys

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["bearerd.relay"]):
    from tests.fuzz import test_requests, test_responses, test_targets

LONGEST = 600


def responses(data: bytes) -> None:
    """Check a response: two bytes choose the cut and the request, the rest is its bytes."""
    if len(data) > 2:
        cut, is_odd, data = data[0], bool(data[1] & 1), data[2:]
        test_responses.check(data, [cut], is_head=is_odd)
        test_responses.check_onward(data, [cut], is_http_10=is_odd)


def requests(data: bytes) -> None:
    """Check a request: one byte chooses the cut, the rest is its bytes."""
    if len(data) > 1:
        test_requests.check_all(data[1:], [data[0]])


KINDS = {"responses": responses, "requests": requests, "targets": test_targets.check}


def main() -> None:
    """Fuzz until the time has passed or a property is broken."""
    kind, seconds, *folders = sys.argv[1:]
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST}",
        f"-artifact_prefix={folders[0]}/",
    ]
    atheris.Setup([sys.argv[0], *options, *folders], KINDS[kind])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
