"""bearerd beside nginx and haproxy: every difference has its reason, written down."""

from __future__ import annotations

import pytest

from tests.differential.compare import differences, explanations
from tests.differential.observe import OURS, Observations
from tests.wire.parsers import IS_PYTHON_PARSER

recorded = pytest.mark.skipif(
    IS_PYTHON_PARSER, reason="the differences were seen with aiohttp's C parser"
)


@recorded
def test_every_difference_is_explained(observations: Observations) -> None:
    """One that nobody has judged may be a hole; `python -m tests.differential` lists it."""
    _, told = explanations()
    known = {explanation.difference for explanation in told}
    assert [found for found in differences(observations) if found not in known] == []


@recorded
def test_every_explanation_has_its_difference(observations: Observations) -> None:
    """What is explained and no longer so misleads whoever reads it."""
    _, told = explanations()
    found = set(differences(observations))
    assert [one.difference for one in told if one.difference not in found] == []


def test_every_reason_is_given_and_used() -> None:
    """A reason is a sentence, and holds for something."""
    reasons, told = explanations()
    assert {one.why for one in told} == set(reasons)
    assert [name for name, text in reasons.items() if not text.endswith(".")] == []


def test_no_case_hides_a_request_from_us(observations: Observations) -> None:
    """What bearerd sends up is whole messages, framed in one way, each with one Host.

    Those that break off are the ones that the client's bytes have broken.
    """
    for name, by_proxy in observations.items():
        for message in by_proxy[OURS].upstream:
            assert message.start.endswith(b" HTTP/1.1"), name
            assert message.framing in ("none", "chunked") or (
                message.framing.startswith("length ")
            ), name
            assert len(message.values(b"host")) == 1, name
            assert len(message.values(b"authorization")) == 1, name
