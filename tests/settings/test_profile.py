"""What a profile takes from the shared settings, and what it has of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from bearerd.errors import ConfigurationError, ExitCode
from bearerd.settings import Folders
from tests.settings.conftest import ErrorLine, Load


def test_a_profile_overrides_the_shared_settings(load: Load, folders: Folders) -> None:
    """It has a store of its own, and `default` always exists."""
    settings = load(
        toml="""
        refresh_window_seconds = 120
        token_url = "http://127.0.0.1:9000/t"
        [profiles.work]
        issuer_url = "http://127.0.0.1:9001"
        refresh_burst = 2
        """
    )
    work, default = settings.profile("work"), settings.profile("default")
    assert (work.name, default.name) == ("work", "default")
    assert work.refresh_window_seconds == default.refresh_window_seconds == 120
    assert (work.refresh_burst, default.refresh_burst) == (2, 5)
    assert work.store == folders.data / "profiles" / "work" / "auth.json"
    assert default.store == folders.data / "auth.json"


def test_a_profile_with_its_own_issuer_does_not_inherit_the_token_url(
    load: Load,
) -> None:
    """Its refresh token must not be sent to another authority."""
    settings = load(
        toml="""
        token_url = "http://127.0.0.1:9000/t"
        [profiles.own]
        issuer_url = "http://127.0.0.1:9001"
        [profiles.both]
        issuer_url = "http://127.0.0.1:9001"
        token_url = "http://127.0.0.1:9001/t"
        [profiles.neither]
        """
    )
    assert settings.profile("own").token_url == "http://127.0.0.1:9001/oauth/token"
    assert settings.profile("both").token_url == "http://127.0.0.1:9001/t"
    assert settings.profile("neither").token_url == "http://127.0.0.1:9000/t"


def test_profiles_can_be_named_without_a_file(load: Load) -> None:
    """The names of flag and environment are added to those of the file."""
    toml = "[profiles.work]\nrefresh_burst = 2"
    settings = load({"profiles": "home"}, {"BEARERD_PROFILES": "a, b.c"}, toml)
    assert set(settings.profiles) == {"default", "work", "home", "a", "b.c"}
    assert settings.profile("work").refresh_burst == 2
    assert set(load(toml='profiles = ["x"]').profiles) == {"default", "x"}


def test_the_default_profile_can_have_a_table(load: Load, tmp_path: Path) -> None:
    """As any other profile."""
    settings = load(toml=f"[profiles.default]\nstore = '{tmp_path}/other.json'")
    assert settings.profile("default").store == tmp_path / "other.json"


def test_an_unknown_profile_is_wrong_usage(load: Load) -> None:
    """The message lists the profiles."""
    with pytest.raises(ConfigurationError, match="'x'; there are: default, work") as e:
        load({"profiles": "work"}).profile("x")
    assert e.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize("key", ["listen", "name", "profiles"])
def test_a_setting_of_the_process_is_unknown_in_a_profile(
    error_line: ErrorLine, key: str
) -> None:
    """A listener belongs to no profile, and the table's header gives the name."""
    line = error_line(toml=f"[profiles.work]\n{key} = 'x'")
    assert line.startswith(f"unknown setting profiles.work.{key} ")
