"""`bearerd token`: a valid access token, refreshed first if necessary."""

from __future__ import annotations

import json
from collections.abc import Mapping

from bearerd.sandbox import AuthorityFault, Sandbox
from tests.cli.conftest import Shell
from tests.support import read_login, tokens_of, write_login


async def test_the_token_is_printed_alone(
    shell: Shell, signed_in: Mapping[str, object], sandbox: Sandbox
) -> None:
    """The stored one while it is valid; the authority is not called."""
    done = await shell.run("token", **signed_in)
    assert (done.code, done.stderr) == (0, "")
    access_token = tokens_of(read_login(shell.store))["access_token"]
    assert done.stdout == f"{access_token}\n"
    assert sandbox.authority.calls == 0


async def test_json_has_account_and_expiry(
    shell: Shell, signed_in: Mapping[str, object]
) -> None:
    """For programs that send the account with each request."""
    done = await shell.run("token", "--json", **signed_in)
    document = json.loads(done.stdout)
    assert set(document) == {"profile", "access_token", "account_id", "expires_at"}
    assert document["account_id"] == "acct-sandbox-1"
    assert document["profile"] == "default"


async def test_an_expired_token_is_refreshed_and_stored(
    shell: Shell, sandbox: Sandbox
) -> None:
    """Once, under the lock that a daemon uses as well."""
    sandbox.tokens.access_lifetime_seconds = -60
    write_login(shell.store, sandbox.auth_document())
    before = tokens_of(read_login(shell.store))
    sandbox.tokens.access_lifetime_seconds = 3600
    done = await shell.run("token", issuer_url=sandbox.issuer_url)
    assert (done.code, done.stderr) == (0, "")
    after = tokens_of(read_login(shell.store))
    assert done.stdout.strip() == after["access_token"] != before["access_token"]
    assert sandbox.authority.refreshes == 1


async def test_a_missing_login_is_exit_code_3(shell: Shell) -> None:
    """One line that names the file and the remedy; nothing on stdout."""
    done = await shell.run("token")
    assert (done.code, done.stdout) == (3, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"bearerd: {shell.store}: there is no credential file")
    assert "bearerd login" in line


async def test_a_login_that_the_authority_refuses_is_exit_code_3(
    shell: Shell, sandbox: Sandbox
) -> None:
    """Only a sign-in helps."""
    sandbox.tokens.access_lifetime_seconds = -60
    write_login(shell.store, sandbox.auth_document())
    sandbox.tokens.revoke_refresh_tokens()
    done = await shell.run("token", issuer_url=sandbox.issuer_url)
    assert (done.code, done.stdout) == (3, "")
    assert len(done.stderr.splitlines()) == 1


async def test_a_retry_asks_again_after_a_refusal_for_good(
    shell: Shell, sandbox: Sandbox
) -> None:
    """Without it the authority is not asked again, and the login may be as good as ever."""
    sandbox.tokens.access_lifetime_seconds = -60
    write_login(shell.store, sandbox.auth_document())
    sandbox.tokens.access_lifetime_seconds = 3600
    body = json.dumps({"error": "invalid_grant"})
    sandbox.authority.fault(
        AuthorityFault("answer", status=400, body=body, before_spending=True),
        times=1,
    )
    given = {"issuer_url": sandbox.issuer_url}
    assert (await shell.run("token", **given)).code == 3
    assert (await shell.run("token", **given)).code == 3
    assert sandbox.authority.calls == 1
    done = await shell.run("token", "--retry", **given)
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.strip() == tokens_of(read_login(shell.store))["access_token"]
    assert sandbox.authority.calls == 2


async def test_a_retry_renews_a_token_that_is_valid(
    shell: Shell, signed_in: Mapping[str, object], sandbox: Sandbox
) -> None:
    """By the clock it is; that the upstream rejects it only a person knows here."""
    before = tokens_of(read_login(shell.store))["access_token"]
    done = await shell.run("token", "--retry", **signed_in)
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.strip() != before
    assert sandbox.authority.refreshes == 1


async def test_an_authority_that_fails_is_exit_code_1(
    shell: Shell, sandbox: Sandbox
) -> None:
    """A sign-in would not help; the file is not changed."""
    sandbox.tokens.access_lifetime_seconds = -60
    write_login(shell.store, sandbox.auth_document())
    before = shell.store.read_bytes()
    sandbox.authority.fault(AuthorityFault("answer", status=500, body="oops"))
    done = await shell.run("token", issuer_url=sandbox.issuer_url)
    assert (done.code, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert shell.store.read_bytes() == before


async def test_the_token_is_that_of_the_profile(
    shell: Shell, signed_in: Mapping[str, object], sandbox: Sandbox
) -> None:
    """From the store of the profile; an unknown profile is wrong usage."""
    work = shell.folder / "profiles" / "work" / "auth.json"
    write_login(work, sandbox.auth_document("acct-sandbox-2"))
    given = {**signed_in, "profiles": "work"}
    done = await shell.run("token", "--json", "--profile", "work", **given)
    assert json.loads(done.stdout)["account_id"] == "acct-sandbox-2"
    done = await shell.run("token", "--profile", "home", **given)
    assert (done.code, done.stdout) == (2, "")
    assert "there are: default, work" in done.stderr
