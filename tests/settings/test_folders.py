"""The user's folders, and the rescue file of a store."""

from __future__ import annotations

from pathlib import Path

import pytest

from bearerd.settings.folders import Folders, rescue_path


def test_the_folders_follow_the_variables_of_xdg(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The config file that is read by default lies in the config folder."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    folders = Folders()
    assert folders.data == tmp_path / "data" / "bearerd"
    assert folders.config_file == tmp_path / "config" / "bearerd" / "bearerd.toml"


def test_each_store_has_one_rescue_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two links to one store share it. A circle of links is no error here."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "link").symlink_to(tmp_path / "auth.json")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    path = rescue_path(tmp_path / "auth.json")
    assert path == rescue_path(tmp_path / "link")
    assert path.parent == tmp_path / "state" / "bearerd" / "rescue"
    assert len({path, *map(rescue_path, (tmp_path / "b", tmp_path / "circle"))}) == 3
