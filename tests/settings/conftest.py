"""A loader of settings that is independent of the machine it runs on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import pytest

from bearerd.errors import ConfigurationError, ExitCode
from bearerd.settings import Folders, Settings, load_settings


class Load(Protocol):
    def __call__(
        self,
        flags: Mapping[str, str] | None = None,
        environ: Mapping[str, str] | None = None,
        toml: str | None = None,
    ) -> Settings: ...


ErrorLine = Callable[..., str]
"""Loads settings, as `Load` does, and returns the line of the error."""


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """A user's folders. Neither exists yet."""
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


@pytest.fixture
def error_line(load: Load) -> ErrorLine:
    """Load invalid settings; return the error's message, which is one line."""

    def call(
        flags: Mapping[str, str] | None = None,
        environ: Mapping[str, str] | None = None,
        toml: str | None = None,
    ) -> str:
        with pytest.raises(ConfigurationError) as caught:
            load(flags, environ, toml)
        assert caught.value.exit_code == ExitCode.USAGE
        assert len(caught.value.message.splitlines()) == 1
        return caught.value.message

    return call
