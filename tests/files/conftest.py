"""A clock that a test moves by hand."""

from __future__ import annotations

import pytest

from tests.credential.stand_ins import Hands


@pytest.fixture
def hands() -> Hands:
    """Hands that stand still until a test moves them."""
    return Hands()
