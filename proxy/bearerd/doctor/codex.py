"""The version of Codex on this machine. From 0.169 on it locks its file for its writes."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TypeAlias

Version: TypeAlias = tuple[int, int, int]

FIRST_WITH_LOCKS: Version = (0, 169, 0)
"""Observed: 0.169 takes flocks and replaces the file; 0.130 and 0.98 write in place."""

VERSION_TIMEOUT_SECONDS = 5.0


def installed_version(path: str | None) -> Version | None:
    """Return the version of the first `codex` in the folders of *path*, or None.

    *path* is in the form of the environment variable PATH.
    """
    program = shutil.which("codex", path=path)
    if program is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - the user's own program, by its full path
            [program, "--version"],
            capture_output=True,
            timeout=VERSION_TIMEOUT_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(rb"(\d+)\.(\d+)\.(\d+)", done.stdout)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None
