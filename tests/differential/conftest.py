"""Every case is run once, for all tests of this folder."""

from __future__ import annotations

import pytest

from tests.differential.neighbours import NotInstalled
from tests.differential.observe import Observations, all_cases, observe


@pytest.fixture(scope="session")
def observations() -> Observations:
    """What bearerd, nginx and haproxy did with every case."""
    try:
        return observe(all_cases())
    except NotInstalled as reason:
        pytest.skip(str(reason))
