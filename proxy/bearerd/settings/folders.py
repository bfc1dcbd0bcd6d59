"""The folders of the user that runs bearerd, by the conventions of the platform."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from platformdirs import user_config_path, user_data_path, user_state_path

from bearerd.files import atomic


@dataclass(frozen=True, slots=True)
class Folders:
    """The folder for configuration and the folder for data. Neither has to exist."""

    config: Path = field(default_factory=lambda: user_config_path("bearerd"))
    data: Path = field(default_factory=lambda: user_data_path("bearerd"))

    @property
    def config_file(self) -> Path:
        """The config file that is read if no other is named."""
        return self.config / "bearerd.toml"


def rescue_path(store: Path) -> Path:
    """Return the file that keeps a new login while the folder of *store* is unwritable.

    It lies in the user's state folder. Its name is a digest of the path that *store*
    resolves to, so that two symbolic links to one store share one rescue file.
    """
    target = str(atomic.real_path(store))
    name = hashlib.sha256(target.encode(errors="surrogateescape")).hexdigest()[:16]
    return user_state_path("bearerd") / "rescue" / f"{name}.json"
