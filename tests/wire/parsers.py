"""The tests that fail with aiohttp's Python parser, and pass with its C parser.

The Python parser runs where aiohttp has no compiled parts (`AIOHTTP_NO_EXTENSIONS`,
PyPy). None of its limits lets one request be taken for two: chunks are framed anew for
the upstream, so the upstream sees what we have parsed.
"""

from __future__ import annotations

import os

import pytest

IS_PYTHON_PARSER = os.environ.get("AIOHTTP_NO_EXTENSIONS") == "1"


def lax(reason: str) -> pytest.MarkDecorator:
    """Mark a test that is known to fail with the Python parser, and only there."""
    return pytest.mark.xfail(IS_PYTHON_PARSER, reason=reason, strict=True)
