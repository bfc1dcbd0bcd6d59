"""The rescue place: can it take what the store does not, and has it had to?"""

from __future__ import annotations

import os
from pathlib import Path

from bearerd.doctor.findings import Finding, ok, warning


def check_rescue(rescue: Path) -> Finding:
    """Look at the place where a new login is kept that cannot be stored."""
    if rescue.exists():
        return warning(
            "rescue",
            f"{rescue} holds the record of a refresh that the store's folder did not "
            "take, perhaps with a new login in it",
            "make the store's folder writable and let bearerd run; never delete the "
            "record by hand",
        )
    folder = rescue.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        return warning(
            "rescue",
            f"{rescue.parent} cannot be written, so a new login that cannot be stored "
            "lives in memory only",
            "let the user of bearerd write there, or point XDG_STATE_HOME elsewhere",
        )
    return ok("rescue", f"what the store does not take goes to {rescue}")
