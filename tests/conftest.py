"""What holds for every suite: the canary."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import Canary


@pytest.fixture(autouse=True)
def canary(request: pytest.FixtureRequest) -> Iterator[Canary]:
    """Fail a test in which a secret shows in log, stderr, event, page or error body.

    Log and stderr are looked through in every test; the rest is shown to the canary by
    whoever starts a daemon. `stdout` is for answers, some of which are secrets.
    """
    watching = Canary()
    yield watching
    for when, kind, text in request.node._report_sections:
        if kind in {"stderr", "log"}:
            watching.saw(f"{kind} during {when}", text)
    found = watching.found()
    if found:
        pytest.fail(f"the canary: {'; '.join(found)}", pytrace=False)
