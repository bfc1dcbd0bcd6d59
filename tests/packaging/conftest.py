"""What the packaging tests look at: the checkout itself, and a wheel built from it."""

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from tests.packaging import engine

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The folder that holds pyproject.toml."""
    return CHECKOUT


@pytest.fixture(scope="session")
def pyproject(checkout: Path) -> dict[str, Any]:
    """pyproject.toml, parsed."""
    return tomllib.loads((checkout / "pyproject.toml").read_text())


@pytest.fixture(scope="session")
def wheel_file(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=checkout,
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def wheel(wheel_file: Path) -> dict[str, str]:
    """The text of every file in the wheel, by its name."""
    with ZipFile(wheel_file) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


@pytest.fixture(scope="session")
def image(checkout: Path) -> Iterator[str]:
    """The image of this checkout, built now and removed in the end."""
    if reason := engine.missing():
        pytest.skip(f"{reason}: start one to build and run the image")
    name = engine.build(checkout)
    yield name
    engine.docker("rmi", "--force", name)
