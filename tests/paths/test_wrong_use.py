"""Wrong use: one line on stderr that names the thing, the reason and the remedy.

Exit codes: 1 failed, 2 wrong usage, 3 a sign-in is needed.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.support import Canary, run_in_process
from tests.support.daemon import client_key

HERE = "127.0.0.1:0"


async def complaint(
    canary: Canary, folder: Path, code: int, *args: str, **settings: object
) -> str:
    """Return the one line that `bearerd ARGS` prints at its end; its exit code is
    *code*.
    """
    given = {"store": folder / "auth.json", "listen": HERE, "admin_listen": "none"}
    done = await run_in_process(folder, *args, settings={**given, **settings})
    canary.saw("stderr of a command", done.stderr)
    assert (done.code, done.stdout) == (code, "")
    (line,) = done.stderr.splitlines()
    name, _, message = line.partition(": ")
    assert name == "bearerd"
    return message


@pytest.mark.parametrize("setting", ["listen", "admin_listen"])
async def test_a_taken_port_is_named_with_its_setting(
    canary: Canary, tmp_path: Path, setting: str
) -> None:
    """Whether another program has it, or another bearerd."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        client_key(tmp_path / "keys.json")
        message = await complaint(canary, tmp_path, 1, "serve", **{setting: address})
    assert address in message
    assert "in use" in message
    assert f"`{setting}`" in message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is not valid JSON"),
        (b'{"tokens": {"access_token": "made-up-and-to', "it is not valid JSON"),
        (b"[1, 2]", "it is not a JSON object"),
        (b'{"OPENAI_API_KEY": "sk-made-up-0123456789"}', "no ChatGPT tokens"),
    ],
    ids=["empty", "torn", "no object", "an API key"],
)
async def test_an_invalid_credential_file_is_named_and_not_quoted(
    canary: Canary, tmp_path: Path, content: bytes, reason: str
) -> None:
    """A command that needs a login names the fault; the file is not changed."""
    canary.knows("a made-up token", "made-up-and-to")
    store = tmp_path / "auth.json"
    store.write_bytes(content)
    message = await complaint(canary, tmp_path, 3, "token")
    assert message.startswith(f"{store}: ")
    assert reason in message
    assert "`bearerd login`" in message
    assert "made-up" not in message
    assert store.read_bytes() == content


async def test_an_unreadable_credential_file_is_named(
    canary: Canary, tmp_path: Path
) -> None:
    """A folder in its place, or no permission where permissions apply. A sign-in would
    not help, so none is asked for.
    """
    store = tmp_path / "auth.json"
    store.mkdir()
    message = await complaint(canary, tmp_path, 1, "token")
    assert message.startswith(f"{store}: cannot be read: it is not a regular file; ")
    assert "move it away, or set `store`" in message
    assert "bearerd login" not in message
    store.rmdir()
    if os.geteuid() != 0:  # root may read everything
        store.write_text("{}")
        store.chmod(0)
        message = await complaint(canary, tmp_path, 1, "token")
        assert message.startswith(f"{store}: cannot be read: Permission denied; ")
        assert "bearerd login" not in message


async def test_a_missing_credential_file_needs_a_sign_in(
    canary: Canary, tmp_path: Path
) -> None:
    """The path, that the file is missing, and the command that creates it."""
    message = await complaint(canary, tmp_path, 3, "token")
    store = tmp_path / "auth.json"
    assert message.startswith(f"{store}: there is no credential file")
    assert "`bearerd login`" in message


async def test_an_unknown_setting_is_named_with_its_origin(
    canary: Canary, tmp_path: Path
) -> None:
    """From the environment, from a file, as a flag; with the nearest known name."""
    message = await complaint(canary, tmp_path, 2, "serve", upstream_ulr="x")
    assert "BEARERD_UPSTREAM_ULR" in message
    assert "did you mean upstream_url?" in message
    config = tmp_path / "wrong.toml"
    config.write_text("[profiles.work]\nstorre = 'x'\n")
    message = await complaint(canary, tmp_path, 2, "serve", "--config", str(config))
    assert "storre" in message
    assert str(config) in message
    message = await complaint(canary, tmp_path, 2, "serve", "--upstream-ulr", "x")
    assert "--upstream-ulr" in message
    assert "--upstream-url" in message


@pytest.mark.parametrize(
    "url",
    ["chatgpt.com", "http://chatgpt.com/backend-api", "https://", "ftp://127.0.0.1/"],
)
async def test_a_bad_url_is_named_with_what_is_allowed(
    canary: Canary, tmp_path: Path, url: str
) -> None:
    """A token is sent in clear text to no other machine."""
    message = await complaint(canary, tmp_path, 2, "serve", upstream_url=url)
    assert message.startswith(f'setting upstream_url = "{url}" ')
    assert "BEARERD_UPSTREAM_URL" in message
    assert "expected " in message


@pytest.mark.parametrize("args", [["serve"], ["logout"], ["doctor", "--online"]])
async def test_an_invalid_certificate_file_is_named(
    canary: Canary, tmp_path: Path, args: list[str]
) -> None:
    """It looks like PEM, and its content is no certificate."""
    ca_file = tmp_path / "company.pem"
    ca_file.write_text("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n")
    message = await complaint(canary, tmp_path, 2, *args, ca_file=ca_file)
    assert message.startswith(f'setting ca_file = "{ca_file}": ')
    assert "cannot be read" in message
    assert "PEM certificates" in message


async def test_a_store_folder_that_cannot_be_written_is_named(
    canary: Canary, tmp_path: Path
) -> None:
    """A file in its place, or no permission where permissions apply. It is found at the
    start, before any token is spent.
    """
    place = tmp_path / "place"
    place.write_text("a file")
    client_key(tmp_path / "keys.json")
    elsewhere = tmp_path / "keys.json"
    message = await complaint(
        canary, tmp_path, 1, "serve", store=place / "auth.json", keys_file=elsewhere
    )
    assert str(place) in message
    assert "its folder is a file" in message
    assert "`store`" in message
    if os.geteuid() != 0:  # root may write everywhere
        place.unlink()
        place.mkdir(mode=0o500)
        message = await complaint(
            canary, tmp_path, 1, "serve", store=place / "auth.json", keys_file=elsewhere
        )
        assert str(place) in message
        assert "Permission denied" in message


@pytest.mark.parametrize("command", ["token", "adopt", "status"])
async def test_an_unknown_profile_is_named_with_the_known_ones(
    canary: Canary, tmp_path: Path, command: str
) -> None:
    """A typing error must not look like a missing login."""
    message = await complaint(
        canary, tmp_path, 2, command, "--profile", "wrok", profiles="work,home"
    )
    assert message == "there is no profile 'wrok'; there are: default, work, home"
