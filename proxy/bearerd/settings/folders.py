"""Where a response is kept when the store's own folder cannot be written."""

from __future__ import annotations

import hashlib
from pathlib import Path

from platformdirs import user_state_path

from bearerd.files import atomic


def rescue_place(store: Path) -> Path:
    """Return the rescue place of *store*: a file of its own in the user's state folder.

    Named after what the store points to, so that two links to it have one.
    """
    target = str(atomic.real_path(store))
    name = hashlib.sha256(target.encode(errors="surrogateescape")).hexdigest()[:16]
    return user_state_path("bearerd") / "rescue" / f"{name}.json"
