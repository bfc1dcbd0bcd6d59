"""`bearerd doctor`: the findings, as lines and as JSON, and the exit code."""

from __future__ import annotations

import json
from collections.abc import Mapping

from bearerd.sandbox import Sandbox
from tests.cli.conftest import Shell
from tests.support import Canary


async def test_the_findings_are_lines_with_a_remedy(shell: Shell) -> None:
    """Without a login, the remedy is a sign-in, and the exit code is 3."""
    done = await shell.run("doctor", "--listen", "127.0.0.1:0")
    assert (done.code, done.stderr) == (3, "")
    assert "to do: bearerd login" in done.stdout


async def test_the_findings_can_be_printed_as_json(shell: Shell) -> None:
    """The names are public."""
    done = await shell.run("doctor", "--json", "--listen", "127.0.0.1:0")
    document = json.loads(done.stdout)
    assert document["exit_code"] == done.code == 3
    assert set(document["findings"][0]) == {
        "topic",
        "verdict",
        "said",
        "remedy",
        "needs_sign_in",
        "profile",
    }


async def test_the_config_file_in_use_is_named(shell: Shell) -> None:
    """Whether a flag names it or it is the user's own."""
    named = shell.folder / "named.toml"
    named.touch()
    done = await shell.run("doctor", "--config", str(named), "--listen", "127.0.0.1:0")
    assert f"loaded: file {named}" in done.stdout
    own = shell.home / ".config" / "bearerd" / "bearerd.toml"
    own.parent.mkdir(parents=True)
    own.touch()
    done = await shell.run("doctor", "--listen", "127.0.0.1:0")
    assert f"loaded: file {own}" in done.stdout


async def test_with_online_authority_and_upstream_are_reached(
    shell: Shell, signed_in: Mapping[str, object], sandbox: Sandbox, canary: Canary
) -> None:
    """Each once for all profiles, and without a token."""
    given = {**signed_in, "listen": "127.0.0.1:0", "profiles": "work"}
    done = await shell.run("doctor", "--online", **given)
    (request,) = sandbox.upstream.records
    canary.saw("stdout", done.stdout)
    assert request.method == "HEAD"
    assert request.header(b"authorization") == []
    assert f"{sandbox.issuer_url} answers" in done.stdout
    assert "ok       default: login" in done.stdout
    assert "failed   work: login" in done.stdout
    assert done.code == 3
