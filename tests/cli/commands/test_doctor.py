"""`bearerd doctor`: each check, by what it finds on a machine made for it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import aiohttp
import filelock
import pytest

from bearerd import __version__
from bearerd.address import Address
from bearerd.clock import Clock
from bearerd.credential.authority.client import AuthorityClient
from bearerd.credential.store.file_store import FileStore
from bearerd.credential.store.state import Account, RefusedToken, StoreState
from bearerd.credential.token import fingerprint
from bearerd.doctor.codex import installed_version
from bearerd.doctor.finding import Finding, exit_code, failed, sign_in_wanted, warning
from bearerd.doctor.listeners import check_listeners
from bearerd.doctor.online import check_online, compare_clocks
from bearerd.doctor.runner import Machine, examine
from bearerd.files.mounts import file_system_of, is_network
from bearerd.sandbox import Sandbox
from bearerd.settings import Folders, load_settings
from tests.support import Canary, run_command, tokens_of, write_login

MOUNTS = "/dev/sda1 / ext4 rw 0 0\n"
Topics = dict[str, list[Finding]]
Examine = Callable[..., Topics]


def nobody(_: Sequence[Address], __: str) -> Mapping[str, Any] | None:
    """Answer as a daemon that does not run."""
    return None


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The place of the store, with a good login in it."""

    async def document() -> dict[str, object]:
        return Sandbox().auth_document()

    path = tmp_path / "data" / "auth.json"
    write_login(path, asyncio.run(document()))
    path.chmod(0o600)
    return path


@pytest.fixture
def examined(tmp_path: Path, store: Path) -> Examine:
    """Examine the store; return the findings by topic."""
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS, encoding="utf-8")

    def call(**changed: Any) -> Topics:
        machine = Machine(
            environ={},
            config=None,
            codex=tmp_path / "codex" / "auth.json",
            mounts=mounts,
            clock=Clock(),
            ask=nobody,
        )
        settings = load_settings(
            {"store": str(store), "listen": "127.0.0.1:0", "admin_listen": "[::1]:0"},
            {},
            folders=Folders(tmp_path, tmp_path),
        )
        around = dataclasses.replace(machine, **changed)
        found = asyncio.run(examine(settings, around, is_online=False))
        topics: Topics = {}
        for finding in found:
            topics.setdefault(finding.topic, []).append(finding)
        return topics

    return call


def verdicts(findings: Mapping[str, list[Finding]], topic: str) -> list[str]:
    """Return the verdicts under one topic."""
    return [finding.verdict for finding in findings[topic]]


def everything(findings: Mapping[str, list[Finding]]) -> list[Finding]:
    """Return all findings in one list."""
    return [finding for found in findings.values() for finding in found]


def test_a_good_store_has_nothing_to_mend(examined: Examine) -> None:
    """Only that no daemon runs is worth a word; the network is left alone."""
    findings = examined()
    assert exit_code(everything(findings)) == 0
    assert verdicts(findings, "lock") == ["ok"]
    assert verdicts(findings, "file") == ["ok"]
    assert verdicts(findings, "network") == ["skipped"]
    assert verdicts(findings, "daemon") == ["warning"]
    said = [finding.said for finding in findings["login"]]
    assert any("acct-sandbox-1" in line for line in said)
    assert any("good until" in line for line in said)


def test_a_file_open_to_others_is_a_warning_with_the_command(
    examined: Examine, store: Path
) -> None:
    """The remedy can be pasted."""
    store.chmod(0o644)
    (finding,) = examined()["file"]
    assert finding.verdict == "warning"
    assert finding.remedy == f"chmod 600 {store}"


def test_a_missing_login_wants_a_sign_in(examined: Examine, store: Path) -> None:
    """Nothing else is wrong, so the exit code is 3."""
    store.unlink()
    assert exit_code(everything(examined())) == 3


def test_a_folder_that_cannot_be_written_is_a_failure(
    examined: Examine, store: Path
) -> None:
    """And comes before the sign-in that is missing too. A file stands in its way."""
    store.unlink()
    store.parent.rmdir()
    store.parent.write_text("in the way", encoding="utf-8")
    findings = examined()
    assert verdicts(findings, "folder") == ["failed"]
    assert exit_code(everything(findings)) == 1


def test_a_network_file_system_is_a_warning(examined: Examine, tmp_path: Path) -> None:
    """The selftest is the remedy, on that very folder."""
    mounts = tmp_path / "network"
    mounts.write_text(f"{MOUNTS}server:/export {tmp_path} nfs4 rw 0 0\n")
    (finding,) = (examined(mounts=mounts))["file system"]
    assert finding.verdict == "warning"
    assert "nfs4" in finding.said
    assert "bearerd selftest --store-dir" in finding.remedy


def test_a_lock_that_another_process_holds_is_as_it_should_be(
    examined: Examine, store: Path
) -> None:
    """A refresh is under way then."""
    with filelock.FileLock(f"{store}.bearerd-lock", preserve_lock_file=True):
        (finding,) = examined()["lock"]
    assert finding.verdict == "ok"
    assert "another process" in finding.said


def test_a_copy_of_codex_login_is_found(
    examined: Examine, store: Path, tmp_path: Path
) -> None:
    """Two files with one refresh token sign each other out."""
    codex = tmp_path / "codex" / "auth.json"
    write_login(codex, json.loads(store.read_text()))
    findings = examined()
    assert verdicts(findings, "sharing") == ["failed"]
    assert exit_code(everything(findings)) == 1


def test_codex_own_file_is_a_warning(examined: Examine, store: Path) -> None:
    """It is supported, as long as Codex takes its locks."""
    assert verdicts(examined(codex=store), "sharing") == ["warning"]


@pytest.mark.parametrize(
    ("version", "verdict"),
    [((0, 168, 9), "failed"), ((0, 169, 0), "warning"), (None, "warning")],
)
def test_an_older_codex_on_the_same_file_is_a_fault(
    examined: Examine,
    store: Path,
    version: tuple[int, int, int] | None,
    verdict: str,
) -> None:
    """It takes no lock, so no lock of ours keeps the two apart."""
    findings = examined(codex=store, codex_version=version)
    assert verdicts(findings, "sharing") == [verdict]


@pytest.mark.parametrize(
    ("script", "version"),
    [
        ("echo codex-cli 0.130.2", (0, 130, 2)),
        ("echo no idea", None),
        ("exit 1", None),
    ],
)
def test_codex_is_asked_for_its_version(
    tmp_path: Path, script: str, version: tuple[int, int, int] | None
) -> None:
    """As a program on the path; there may be none."""
    assert installed_version(str(tmp_path)) is None
    program = tmp_path / "codex"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
    assert installed_version(str(tmp_path)) == version


async def test_a_login_of_another_owner_wants_a_person(
    examined: Examine, store: Path
) -> None:
    """The notes say whose profile it is."""
    await FileStore(store, clock=Clock()).write_state(
        StoreState(account=Account("acct-else"))
    )
    (finding,) = examined()["owner"]
    assert finding.wants_sign_in
    assert "bearerd adopt" in finding.remedy


async def test_a_refused_refresh_token_wants_a_sign_in(
    examined: Examine, store: Path
) -> None:
    """The authority has said no to this very token."""
    refresh_token = tokens_of(json.loads(store.read_text()))["refresh_token"]
    refused = RefusedToken(fingerprint(refresh_token), "revoked")
    await FileStore(store, clock=Clock()).write_state(StoreState(refused=refused))
    findings = examined()
    assert any("revoked" in finding.said for finding in findings["login"])
    assert exit_code(everything(findings)) == 3


@pytest.mark.parametrize(
    ("tokens", "seconds", "code"),
    [
        ({"refresh_token": ""}, 0, 0),
        ({"refresh_token": ""}, 11 * 24 * 3600, 3),
        ({}, 11 * 24 * 3600, 0),
    ],
    ids=["no-refresh-token", "and-expired", "expired-but-refreshable"],
)
def test_what_a_login_can_still_do_decides(
    examined: Examine, store: Path, tokens: dict[str, str], seconds: float, code: int
) -> None:
    """Expired is no trouble as long as it can be refreshed."""
    document = json.loads(store.read_text())
    document["tokens"] |= tokens
    write_login(store, document)
    store.chmod(0o600)
    now = Clock().now() + seconds
    findings = examined(clock=Clock(now=lambda: now))
    assert exit_code(everything(findings)) == code


def test_origins_of_settings_are_named_and_values_are_not(
    examined: Examine, tmp_path: Path
) -> None:
    """A variable's name is enough; its value may be a secret."""
    environ = {"BEARERD_CLIENT_KEY": "made-up", "HTTPS_PROXY": "http://p:1", "A": "b"}
    findings = examined(environ=environ, config=tmp_path / "bearerd.toml")
    said = findings["settings"][0].said
    assert "BEARERD_CLIENT_KEY" in said
    assert "bearerd.toml" in said
    assert "made-up" not in said
    assert verdicts(findings, "proxy") == ["warning"]
    assert "HTTPS_PROXY" in findings["proxy"][0].said


def test_a_port_that_another_program_has_is_a_failure() -> None:
    """Ours, free or taken: each address is told."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address("tcp", "127.0.0.1", taken.getsockname()[1])
        admin = Address("tcp", "127.0.0.1", 0)
        found = list(check_listeners([address], [admin], __version__, nobody))
    assert found[-1].verdict == "failed"
    assert str(address) in found[-1].said


def test_ports_of_a_running_daemon_are_ours() -> None:
    """Even though they cannot be had."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = Address("tcp", "127.0.0.1", server.getsockname()[1])
        status = {"version": __version__, "relay": [str(address)], "admin": []}
        found = list(
            check_listeners([address], [address], __version__, lambda *_: status)
        )
    assert [finding.verdict for finding in found] == ["ok", "ok", "ok"]


def test_another_version_that_runs_wants_a_restart() -> None:
    """It was updated beneath itself."""
    status = {"version": "0.0.1", "relay": [], "admin": []}
    admin = Address("tcp", "127.0.0.1", 0)
    (finding,) = check_listeners([], [admin], __version__, lambda *_: status)
    assert finding.verdict == "warning"
    assert finding.remedy == "restart it"


def test_a_unix_socket_without_a_listener_is_free(tmp_path: Path) -> None:
    """Whether or not a dead one lies there."""
    path = tmp_path / "s"
    address = Address("unix", path=str(path))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        (_, free) = check_listeners([address], [], __version__, nobody)
        server.listen()
        (_, taken) = check_listeners([address], [], __version__, nobody)
    assert free.verdict == "ok"
    assert taken.verdict == "warning"


@asynccontextmanager
async def client_of(issuer_url: str) -> AsyncIterator[AuthorityClient]:
    """Give a client for the authority at a URL."""
    async with aiohttp.ClientSession() as session:
        yield AuthorityClient(
            session,
            issuer_url=issuer_url,
            token_url=f"{issuer_url}/oauth/token",
            client_id="app_test",
            timeout_seconds=5.0,
        )


async def test_online_reaches_authority_and_upstream() -> None:
    """A response with any status will do, and the authority's date is compared."""
    async with Sandbox() as sandbox, client_of(sandbox.issuer_url) as client:
        found = await check_online(client, sandbox.upstream_url, Clock())
    assert [finding.topic for finding in found] == ["authority", "upstream", "clock"]
    assert {finding.verdict for finding in found} == {"ok"}


async def test_online_names_what_is_not_reached() -> None:
    """A port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    async with client_of(url) as client:
        found = await check_online(client, url, Clock())
    assert [finding.verdict for finding in found] == ["failed", "failed"]
    assert url in found[0].said


@pytest.mark.parametrize(
    ("seconds", "verdict", "word"),
    [(5, "ok", "agrees"), (90, "warning", "fast"), (-90, "warning", "slow")],
)
def test_a_clock_that_is_wrong_is_a_warning(
    seconds: float, verdict: str, word: str
) -> None:
    """Expiry is judged by it."""
    finding = compare_clocks("Thu, 01 Jan 1970 01:00:00 GMT", 3600 + seconds)
    assert finding.verdict == verdict
    assert word in finding.said


def test_a_date_that_is_none_is_passed_over() -> None:
    """It proves nothing about our clock."""
    assert compare_clocks("soon", 0).verdict == "skipped"


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/a b/x", "nfs4"), ("/a", "ext4"), ("/over/x", "tmpfs"), ("/a bc", "ext4")],
)
def test_the_deepest_and_last_mount_counts(path: str, kind: str) -> None:
    """Blanks are escaped; a mount over a mount hides it."""
    table = (
        f"{MOUNTS}s:/ /a\\040b nfs4 rw 0 0\nx /over ext3 rw 0 0\n"
        "y /over tmpfs rw 0 0\nbroken line\n"
    )
    assert file_system_of(PurePosixPath(path), table) == kind


def test_no_table_tells_nothing() -> None:
    """As on systems that have none."""
    assert file_system_of(PurePosixPath("/x"), "") is None
    assert is_network("fuse.sshfs")
    assert not is_network("ext4")


@pytest.mark.parametrize(
    ("findings", "code"),
    [
        ([], 0),
        ([warning("a", "b", "c")], 0),
        ([sign_in_wanted("a", "b", "c")], 3),
        ([sign_in_wanted("a", "b", "c"), failed("a", "b", "c")], 1),
    ],
)
def test_what_has_to_be_mended_first_is_the_exit_code(
    findings: list[Finding], code: int
) -> None:
    """A sign-in into a broken store helps nobody."""
    assert exit_code(findings) == code


async def test_the_command_says_what_to_do(tmp_path: Path) -> None:
    """In lines for a person, and as JSON for a program."""
    plain = await run_command(tmp_path, "doctor", "--listen", "127.0.0.1:0")
    assert plain.code == 3
    assert "to do: bearerd login" in plain.stdout
    response = await run_command(tmp_path, "doctor", "--json", "--admin-listen", "none")
    document = json.loads(response.stdout)
    assert document["exit_code"] == response.code == 3
    assert {"topic", "verdict", "said", "remedy", "wants_sign_in", "profile"} == set(
        document["findings"][0]
    )


async def test_the_command_goes_online_when_it_is_told_to(
    tmp_path: Path, canary: Canary
) -> None:
    """Each authority and upstream is asked once, without a token."""
    async with Sandbox() as sandbox:
        canary.watches(sandbox)
        write_login(tmp_path / "auth.json", sandbox.auth_document())
        settings = {
            "store": tmp_path / "auth.json",
            "issuer_url": sandbox.issuer_url,
            "upstream_url": sandbox.upstream_url,
            "listen": "127.0.0.1:0",
            "profiles": "work",
        }
        response = await run_command(tmp_path, "doctor", "--online", settings=settings)
        (asked,) = sandbox.upstream.records
    canary.saw("stdout", response.stdout)
    assert asked.method == "HEAD"
    assert asked.header(b"authorization") == []
    assert f"{sandbox.issuer_url} answers" in response.stdout
    assert "ok       default: login" in response.stdout
    assert "failed   work: login" in response.stdout
    assert response.code == 3


async def test_a_bad_setting_is_one_line(tmp_path: Path) -> None:
    """Nothing can be looked at before it is mended."""
    response = await run_command(tmp_path, "doctor", settings={"listen": "nonsense"})
    assert response.code == 2
    assert "BEARERD_LISTEN" in response.stderr
    assert len(response.stderr.splitlines()) == 1
