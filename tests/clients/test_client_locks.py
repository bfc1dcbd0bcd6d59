"""The locks of the real agents. Reads files only, so it runs with the unit suite."""

from __future__ import annotations

import json
import re

from packaging.requirements import Requirement

from tests.clients.installation import HERE, PYTHON_LOCK


def test_the_lock_of_node_packages_is_hashed_and_names_no_registry() -> None:
    """Each package is pinned by its digest; where it comes from is npm's configuration."""
    text = (HERE / "node" / "package-lock.json").read_text()
    root, *packages = json.loads(text)["packages"].values()
    wanted = json.loads((HERE / "node" / "package.json").read_text())["dependencies"]
    assert root["dependencies"] == wanted
    assert all(re.fullmatch(r"[0-9.]+", version) for version in wanted.values())
    assert packages
    for package in packages:
        assert package["integrity"].startswith("sha512-"), package
        assert "resolved" not in package
    assert "://" not in text


def test_the_lock_of_python_packages_is_hashed_and_names_no_registry() -> None:
    """The same for the SDK, at the version that was asked for."""
    text = re.sub(r"\s*\\\n\s*", " ", PYTHON_LOCK.read_text())
    lines = [line for line in text.splitlines() if line.strip()[:1] not in ("", "#")]
    for line in lines:
        pin, *hashes = line.split(" --hash=")
        assert re.fullmatch(r"==[^*,]+", str(Requirement(pin).specifier)), pin
        assert hashes, pin
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", digest) for digest in hashes)
    asked = (HERE / "requirements.in").read_text().splitlines()[-1]
    assert any(line.startswith(f"{asked} ") for line in lines)
    assert "://" not in text
