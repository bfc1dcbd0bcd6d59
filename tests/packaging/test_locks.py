"""The locks: complete, hashed, in step with pyproject.toml, and silent about registries."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

RUNTIME, BUILD, DEV, LOWEST = (
    "requirements.lock",
    "requirements-build.lock",
    "requirements-dev.lock",
    "requirements-lowest.lock",
)
EVERY_LOCK = pytest.mark.parametrize("lock", [RUNTIME, BUILD, DEV, LOWEST])


def entries(path: Path) -> list[tuple[Requirement, list[str]]]:
    """The requirements of a lock, each with its hashes."""
    text = re.sub(r"\s*\\\n\s*", " ", path.read_text())
    lines = [
        line for line in text.splitlines() if line.strip("\t ")[:1] not in ("", "#")
    ]
    parts = [line.split(" --hash=") for line in lines]
    return [(Requirement(pin), hashes) for pin, *hashes in parts]


def versions(path: Path) -> dict[str, str]:
    """The locked versions under their packages' normalised names."""
    pins = [pin for pin, _ in entries(path)]
    exact = {canonicalize_name(pin.name): str(pin.specifier) for pin in pins}
    return {name: specifier.removeprefix("==") for name, specifier in exact.items()}


def wanted(pyproject: dict[str, Any], *, groups: bool) -> list[Requirement]:
    """What pyproject.toml asks for; with *groups* also what the extras and tools ask for."""
    asked = list(pyproject["project"]["dependencies"])
    if groups:
        for extra in pyproject["project"].get("optional-dependencies", {}).values():
            asked += extra
        for group in pyproject["dependency-groups"].values():
            asked += [item for item in group if isinstance(item, str)]
    return [Requirement(text) for text in asked]


def test_no_lock_names_a_registry(checkout: Path) -> None:
    """They must work behind any mirror; so must those of the suites."""
    locks = [*checkout.glob("*.lock"), *checkout.glob("tests/*/*.lock")]
    text = "\n".join(path.read_text() for path in locks)
    assert len(locks) >= 3
    assert not re.search(r"://|@ ?file|--(?!hash=sha256:)|\.(org|com|io|net)\b", text)


def test_no_lock_of_npm_names_a_registry(checkout: Path) -> None:
    """Left alone, npm writes down where it found each package."""
    for path in checkout.glob("tests/*/*/package-lock.json"):
        packages = json.loads(path.read_text())["packages"]
        named = [name for name, package in packages.items() if "resolved" in package]
        assert packages
        assert named == [], path


@EVERY_LOCK
def test_every_pin_is_exact_and_hashed(checkout: Path, lock: str) -> None:
    """A range, or a pin without a hash, would let in what nobody has looked at."""
    found = entries(checkout / lock)
    assert found
    for pin, hashes in found:
        assert re.fullmatch(r"==[^*,]+", str(pin.specifier)), pin
        assert hashes, pin
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", digest) for digest in hashes)


@EVERY_LOCK
def test_one_set_of_versions_serves_every_python(checkout: Path, lock: str) -> None:
    """What passes its tests on one Python is what runs on another."""
    names = [pin.name for pin, _ in entries(checkout / lock)]
    assert len(names) == len(set(names))


def test_the_runtime_lock_covers_what_the_program_needs(
    checkout: Path, pyproject: dict[str, Any]
) -> None:
    """Every dependency is pinned, within the range that pyproject.toml allows."""
    locked = versions(checkout / RUNTIME)
    for requirement in wanted(pyproject, groups=False):
        version = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement


def test_the_development_lock_covers_extras_and_tools_too(
    checkout: Path, pyproject: dict[str, Any]
) -> None:
    """One environment runs every suite, those of the extras included."""
    locked = versions(checkout / DEV)
    for requirement in wanted(pyproject, groups=True):
        version = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement


@pytest.mark.parametrize("lock", [RUNTIME, BUILD])
def test_what_runs_is_what_was_tested(checkout: Path, lock: str) -> None:
    """The tests run on the development lock, so no other lock differs from it."""
    assert versions(checkout / lock).items() <= versions(checkout / DEV).items()


def test_the_lowest_lock_has_every_lower_bound(
    checkout: Path, pyproject: dict[str, Any]
) -> None:
    """`make test-oldest` then runs on the lowest versions that pyproject.toml allows.

    After a bound was lowered, `make lock LOCK_FLAGS=--upgrade` moves the lock down too.
    """
    groups = pyproject["dependency-groups"]
    listed = pyproject["project"]["dependencies"] + groups["build"] + groups["test"]
    locked = versions(checkout / LOWEST)
    for requirement in [Requirement(item) for item in listed if isinstance(item, str)]:
        (bound,) = [one for one in requirement.specifier if one.operator == ">="]
        version = locked[canonicalize_name(requirement.name)]
        assert Version(version) == Version(bound.version), requirement
