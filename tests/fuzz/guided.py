"""`python -m tests.fuzz.guided KIND SECONDS FOLDER...`: fuzzing led by coverage.

atheris watches which lines of `bearerd.relay` an input reaches, and keeps changing those
that reached new ones. The first folder takes what it learns; a broken property ends the
run with the input saved there. llhttp is C and not watched.
"""

from __future__ import annotations

import sys

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["bearerd.relay"]):
    from tests.fuzz import test_requests, test_responses, test_targets

LONGEST = 600


def responses(data: bytes) -> None:
    """Take two bytes for what to do, and the rest for an upstream's."""
    if len(data) > 2:
        cut, is_odd, data = data[0], bool(data[1] & 1), data[2:]
        test_responses.check(data, [cut], is_head=is_odd)
        test_responses.check_onward(data, [cut], is_http_10=is_odd)


def requests(data: bytes) -> None:
    """Take a byte for where the segment ends, and the rest for a client's."""
    if len(data) > 1:
        test_requests.check_all(data[1:], [data[0]])


KINDS = {"responses": responses, "requests": requests, "targets": test_targets.check}


def main() -> None:
    """Fuzz until the time is over, or a property is broken."""
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
