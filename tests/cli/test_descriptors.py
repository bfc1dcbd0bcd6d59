"""The daemon takes the descriptors that the system allows."""

from __future__ import annotations

import subprocess
import sys

LOOK = """
import resource
from bearerd.cli.run_daemon import raise_descriptor_limit

_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
raise_descriptor_limit()
print(resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard))
"""


def test_the_soft_limit_becomes_the_hard_one() -> None:
    """A thousand streams take two thousand descriptors; the usual limit is 1024."""
    done = subprocess.run(
        [sys.executable, "-c", LOOK], check=True, capture_output=True, text=True
    )
    assert done.stdout == "True\n"
