"""`bearerd key`: keys are created, listed and revoked."""

from __future__ import annotations

import json
import time

import pytest

from bearerd.keys.ring import KeyRing
from tests.cli.conftest import Shell
from tests.support import Canary, Client, Start


async def test_a_key_is_printed_once_and_listed_by_name(
    shell: Shell, canary: Canary
) -> None:
    """Alone on stdout, so that a script can read it; the list contains no key."""
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
    """An empty list if there is none; a key has the profile that was given."""
    assert (await shell.run("key", "list", "--json")).stdout == "[]\n"
    await shell.run("key", "create", "ci", "--profile", "work", profiles="work")
    (key,) = json.loads((await shell.run("key", "list", "--json")).stdout)
    assert set(key) == {"name", "profile", "may", "created_at"}
    assert (key["name"], key["profile"], key["may"]) == ("ci", "work", ["relay"])


async def test_an_empty_list_explains_itself_on_stderr(shell: Shell) -> None:
    """With the command that creates a key; stdout is empty."""
    done = await shell.run("key", "list")
    assert (done.code, done.stdout) == (0, "")
    assert "bearerd key create NAME" in done.stderr


async def test_a_revoked_key_is_removed(shell: Shell) -> None:
    """To revoke it again is wrong usage."""
    await shell.run("key", "create", "laptop")
    assert (await shell.run("key", "revoke", "laptop")).code == 0
    assert (await shell.run("key", "list")).stdout == ""
    again = await shell.run("key", "revoke", "laptop")
    assert again.code == 2
    assert again.stderr == "bearerd: there is no key named laptop; there are: none\n"


async def test_an_invalid_name_is_one_line(shell: Shell) -> None:
    """A name that exists, one that is not allowed, and an unknown profile."""
    await shell.run("key", "create", "laptop")
    for args, reason in (
        (("laptop",), "there is a key named laptop already"),
        (("a b",), "allowed are letters"),
        (("x", "--profile", "home"), "there is no profile 'home'; there are: default"),
    ):
        done = await shell.run("key", "create", *args)
        assert (done.code, done.stdout) == (2, "")
        (line,) = done.stderr.splitlines()
        assert reason in line


@pytest.mark.usefixtures("signed_in")
async def test_a_running_daemon_uses_the_keys_as_they_are_now(
    shell: Shell, start: Start, canary: Canary
) -> None:
    """A new key works at once; a revoked one is refused within two seconds."""
    daemon = await start()
    key = (await shell.run("key", "create", "ci")).stdout.strip()
    canary.knows("a created key", key)
    async with Client(daemon.client.base_url, key, canary) as client:
        assert (await client.get()).status == 200
        await shell.run("key", "revoke", "ci")
        # The daemon looks at the file when a request arrives, so requests have to.
        began = time.monotonic()
        while (await client.get()).code != "client_key_invalid":
            assert time.monotonic() - began < 2
    assert (await daemon.client.get()).status == 200
