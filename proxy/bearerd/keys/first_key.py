"""The first key in plain text: a private file beside `keys.json`.

`bearerd serve` makes a first key where there is none. Its user reads it from this file,
or mounts the file into a container. No other key is kept in plain text.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Final

from bearerd.keys.file import digest_of, replace

FILE_NAME: Final = "client-key"


class FirstKeyFile:
    """The file `client-key` beside *key_file*. Holds its path and no other state."""

    def __init__(self, key_file: Path) -> None:
        self.path = key_file.parent / FILE_NAME

    def exists(self) -> bool:
        """Return True if there is such a file."""
        return self.path.exists()

    def write(self, key: str) -> None:
        """Write *key* and a newline, mode 0600.

        Raises:
            StoreError: the file cannot be written.
        """
        replace(self.path, f"{key}\n".encode())

    def remove_if_revoked(self, digests: Collection[bytes]) -> None:
        """Remove the file if the digest of its key is among *digests*.

        A file that cannot be read or removed stays: its key is rejected all the same.
        """
        with suppress(OSError):
            if digest_of(self.path.read_bytes().strip()) in digests:
                self.path.unlink()
