"""What aiohttp's Python parser lets through, and its C parser does not.

Where bearerd runs without aiohttp's compiled parts (`AIOHTTP_NO_EXTENSIONS`, PyPy), these
limits hold. None of them lets a request be taken for two: chunks are framed anew on the
way up, so the upstream sees what we have read.
"""

from __future__ import annotations

import os

import pytest

IS_PYTHON_PARSER = os.environ.get("AIOHTTP_NO_EXTENSIONS") == "1"


def lax(reason: str) -> pytest.MarkDecorator:
    """Mark a test that is known to fail under the Python parser, and only there."""
    return pytest.mark.xfail(IS_PYTHON_PARSER, reason=reason, strict=True)
