"""The wheel: the package and its metadata, and nothing else of the checkout."""

from email.parser import Parser
from pathlib import Path

from bearerd import __version__


def metadata(wheel: dict[str, str], name: str) -> str:
    """One file of the wheel's .dist-info folder."""
    return wheel[f"bearerd-{__version__}.dist-info/{name}"]


def test_the_wheel_holds_the_package_and_its_metadata_only(
    wheel: dict[str, str],
) -> None:
    """Tests, benchmarks and whatever lies about stay at home."""
    folders = {name.split("/")[0] for name in wheel}
    assert folders == {"bearerd", f"bearerd-{__version__}.dist-info"}


def test_the_wheel_holds_every_module(wheel: dict[str, str], checkout: Path) -> None:
    """A room that was left out would fail on a user's machine only."""
    ours = {
        path.relative_to(checkout / "proxy").as_posix()
        for path in (checkout / "proxy").rglob("*.py")
    }
    assert ours <= set(wheel)


def test_the_wheel_says_that_it_is_typed(wheel: dict[str, str]) -> None:
    """Without this file a type checker ignores all our annotations (PEP 561)."""
    assert wheel["bearerd/py.typed"] == ""


def test_the_wheel_installs_one_command(wheel: dict[str, str]) -> None:
    """The program is called bearerd, whatever its package is called."""
    lines = metadata(wheel, "entry_points.txt").split("\n")
    assert [line for line in lines if line] == [
        "[console_scripts]",
        "bearerd = bearerd.cli:main",
    ]


def test_the_metadata_says_what_it_is(wheel: dict[str, str]) -> None:
    """Name, version, licence and Python, as an index and pip read them."""
    said = Parser().parsestr(metadata(wheel, "METADATA"))
    assert (said["Name"], said["Version"]) == ("bearerd", __version__)
    assert said["License-Expression"] == "Apache-2.0"
    assert said["Requires-Python"] == ">=3.11"
    assert "Apache License" in metadata(wheel, "licenses/LICENSE")
