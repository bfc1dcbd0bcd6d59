"""The canary of every test: it finds secrets, and it is active."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from bearerd.sandbox import Sandbox
from tests.support import Canary, Start, tokens_of
from tests.support.daemon import client_key
from tests.support.process import ROOT, environment

KEPT = """
import logging
import sys


def test_that_is_well(tmp_path):
    sys.stderr.write("sandbox-rt-is no token")


def test_that_writes_a_secret():
    sys.stderr.write("said: sandbox-rt-1-2-00ff00ff00ff")


def test_that_logs_a_secret():
    logging.getLogger("anybody").warning("eyJhbGciOiJub25lIn0")
"""


@pytest.mark.parametrize("part", ["whole", "beginning", "end"])
@pytest.mark.parametrize("kind", ["access_token", "refresh_token", "id_token", "key"])
async def test_a_secret_is_found_whole_and_in_part(
    sandbox: Sandbox, tmp_path: Path, kind: str, part: str
) -> None:
    """Every token that the sandbox issued: in the middle of a line, or truncated."""
    secret = client_key(tmp_path / "keys.json")
    watching = Canary()
    watching.knows("a client key", secret)
    if kind != "key":
        watching.watches(sandbox)
        secret = tokens_of(sandbox.auth_document())[kind]
    shown = {"whole": secret, "beginning": secret[:24], "end": secret[-24:]}[part]
    watching.saw("a line", f'{{"said": "the {shown} it is"}}')
    if (kind, part) == ("id_token", "end"):
        return  # a signature by itself opens nothing, and is not a secret
    (first, *_) = watching.found()
    assert first.startswith("a line shows ")
    assert shown not in first


async def test_public_values_are_not_reported(start: Start, sandbox: Sandbox) -> None:
    """Fingerprints, accounts and claims are public."""
    daemon = await start()
    watching = Canary()
    watching.watches(sandbox)
    await daemon.client.send()
    (record,) = sandbox.upstream.records
    watching.saw("a line", f"{record.access_fingerprint} acct-sandbox-1 {record!r}")
    assert watching.found() == []


async def test_the_canary_is_active_in_every_test(tmp_path: Path) -> None:
    """A run of pytest in which one test is clean, and two print a secret."""
    (tmp_path / "test_kept.py").write_text(KEPT)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.conftest",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
        cwd=ROOT,
        # The plugins that are installed take longer to load than all the rest.
        env=environment(tmp_path, {}) | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 1
    text = output.decode()
    assert "the canary: stderr during call shows a refresh token\n" in text
    assert "the canary: log during call shows a JWT\n" in text
    assert text.splitlines()[-1].startswith("3 passed, 2 errors")
