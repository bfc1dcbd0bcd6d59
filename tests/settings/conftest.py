"""A reader of settings that sees nothing of the machine it runs on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import pytest

from bearerd.settings import Folders, Settings, load_settings


class Load(Protocol):
    def __call__(
        self,
        flags: Mapping[str, str] | None = None,
        environ: Mapping[str, str] | None = None,
        toml: str | None = None,
    ) -> Settings: ...


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """A user's folders, both empty."""
    return Folders(config=tmp_path / "config", data=tmp_path / "data")


@pytest.fixture
def load(tmp_path: Path, folders: Folders) -> Load:
    """Load settings from these flags, this environment and this TOML text alone."""

    def call(
        flags: Mapping[str, str] | None = None,
        environ: Mapping[str, str] | None = None,
        toml: str | None = None,
    ) -> Settings:
        config = None
        if toml is not None:
            config = tmp_path / "bearerd.toml"
            config.write_text(toml, encoding="utf-8")
        return load_settings(flags, environ or {}, config=config, folders=folders)

    return call
