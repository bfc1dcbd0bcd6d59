"""The rescue place: where it lies, and what doctor says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bearerd.doctor.rescue import check_rescue
from bearerd.settings.folders import rescue_place


def test_two_links_to_one_store_have_one_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And two stores have two; a circle of links is no error here."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "link").symlink_to(tmp_path / "auth.json")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    place = rescue_place(tmp_path / "auth.json")
    assert place == rescue_place(tmp_path / "link")
    assert place.parent == tmp_path / "state" / "bearerd" / "rescue"
    assert len({place, *map(rescue_place, (tmp_path / "b", tmp_path / "circle"))}) == 3


def test_the_doctor_names_the_place_and_what_is_in_it(tmp_path: Path) -> None:
    """Free, taken, or not to be had."""
    place = tmp_path / "state" / "rescue.json"
    free = check_rescue(place)
    assert (free.verdict, str(place) in free.said) == ("ok", True)
    place.parent.mkdir()
    place.write_text("{}")
    taken = check_rescue(place)
    assert (taken.verdict, str(place) in taken.said) == ("warning", True)
    assert taken.remedy
    (tmp_path / "file").write_text("")
    none = check_rescue(Path("/proc/self/nowhere/rescue.json"))
    assert (none.verdict, "memory only" in none.said) == ("warning", True)
