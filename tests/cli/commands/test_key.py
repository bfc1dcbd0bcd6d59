"""`bearerd key`: made, listed, revoked; shown once."""

from __future__ import annotations

import json

from bearerd.keys.ring import KeyRing
from tests.cli.conftest import Shell
from tests.support import Canary


async def test_a_key_is_printed_once_and_listed_by_name(
    shell: Shell, canary: Canary
) -> None:
    """Alone on stdout, so that a script can take it; the list holds no key."""
    made = await shell.run("key", "create", "laptop")
    assert made.code == 0
    key = made.stdout.strip()
    canary.knows("the key", key)
    assert len(key.split(".")) == 3
    assert "laptop" in made.stderr
    listed = await shell.run("key", "list")
    assert listed.code == 0
    name, profile, may, *made_at = listed.stdout.split()
    assert (name, profile, may, made_at[-1]) == ("laptop", "default", "relay", "UTC")
    assert key not in listed.stdout
    client = KeyRing.load(shell.folder / "keys.json").find(key.encode())
    assert client is not None
    assert client.name == "laptop"


async def test_keys_are_listed_as_json(shell: Shell) -> None:
    """An empty list when there is none; the profile is the one that was asked for."""
    assert (await shell.run("key", "list", "--json")).stdout == "[]\n"
    await shell.run("key", "create", "ci", "--profile", "work", profiles="work")
    (key,) = json.loads((await shell.run("key", "list", "--json")).stdout)
    assert set(key) == {"name", "profile", "may", "created_at"}
    assert (key["name"], key["profile"], key["may"]) == ("ci", "work", ["relay"])


async def test_no_key_is_said_on_stderr(shell: Shell) -> None:
    """With what makes one; the response itself is empty."""
    done = await shell.run("key", "list")
    assert (done.code, done.stdout) == (0, "")
    assert "bearerd key create NAME" in done.stderr


async def test_a_revoked_key_is_gone(shell: Shell) -> None:
    """And revoking it again is wrong use."""
    await shell.run("key", "create", "laptop")
    assert (await shell.run("key", "revoke", "laptop")).code == 0
    assert (await shell.run("key", "list")).stdout == ""
    again = await shell.run("key", "revoke", "laptop")
    assert again.code == 2
    assert again.stderr == "bearerd: there is no key named laptop; there are: none\n"


async def test_wrong_names_are_one_line(shell: Shell) -> None:
    """A name that is taken, one that cannot be, a profile that is not there."""
    await shell.run("key", "create", "laptop")
    for args, said in (
        (("laptop",), "there is a key named laptop already"),
        (("a b",), "allowed are letters"),
        (("x", "--profile", "home"), "there is no profile 'home'; there are: default"),
    ):
        done = await shell.run("key", "create", *args)
        assert (done.code, done.stdout) == (2, "")
        (line,) = done.stderr.splitlines()
        assert said in line
