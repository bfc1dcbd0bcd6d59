"""The fields that describe a recovery: `x-bearerd-recovery` and `x-bearerd-error`.

Everything else of a response is the upstream's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from bearerd.events import RecoveryFinished, RecoveryOutcome
from bearerd.sandbox import AuthorityFault, Sandbox, UpstreamFault
from tests.support import Daemon, ManualClock, Reply, Start, write_login
from tests.support.client import MODELS

ECHO = "/backend-api/echo"
REFUSED = '{"error":{"code":"token_invalidated","message":"Sign in again."}}'
Happens = Callable[[Sandbox, Daemon], None]
OURS = ("x-bearerd-recovery", "x-bearerd-error")


def marks(reply: Reply) -> tuple[str | None, str | None]:
    """Return the fields that bearerd added to a response."""
    return reply.recovery, reply.code


def fields(reply: Reply) -> Iterator[tuple[str, str]]:
    """Return the upstream's fields; the date, which has seconds, is left out."""
    for name, value in reply.headers.items():
        if name.lower() not in (*OURS, "date"):
            yield name, value


def plain(_: Sandbox, __: Daemon) -> None:
    """Change nothing."""


def another_login(sandbox: Sandbox, daemon: Daemon) -> None:
    """Revoke the token, and put another login into the file."""
    sandbox.revoke_access_tokens()
    write_login(daemon.store, sandbox.auth_document())


def revoked(sandbox: Sandbox, _: Daemon) -> None:
    """Revoke the token."""
    sandbox.revoke_access_tokens()


def both_revoked(sandbox: Sandbox, daemon: Daemon) -> None:
    """Revoke the token, and the one in the file."""
    write_login(daemon.store, sandbox.auth_document())
    sandbox.revoke_access_tokens()


@pytest.mark.parametrize(
    ("happens", "recovery", "sends"),
    [
        (plain, None, 1),
        (another_login, "reload", 2),
        (revoked, "refresh", 2),
        (both_revoked, "reload, refresh", 3),
    ],
)
async def test_a_recovered_response_has_one_field_of_ours(
    timed_start: Start,
    timed_sandbox: Sandbox,
    happens: Happens,
    recovery: str | None,
    sends: int,
) -> None:
    """The same bytes and the same fields in the same order, with one field of ours or
    none.
    """
    daemon = await timed_start()
    timed_sandbox.upstream.extra_headers.extend(
        [("x-first", "1"), ("X-Second", "2"), ("x-first", "3")]
    )
    untouched = await daemon.client.get(MODELS)
    assert marks(untouched) == (None, None)
    happens(timed_sandbox, daemon)
    reply = await daemon.client.get(MODELS)
    assert (reply.status, *marks(reply)) == (200, recovery, None)
    assert reply.body == untouched.body
    assert list(fields(reply)) == list(fields(untouched))
    assert timed_sandbox.upstream.requests == 1 + sends
    announced = [one.path.value for one in daemon.announced(RecoveryFinished)]
    assert announced == ([recovery] if recovery else [])


async def test_a_body_is_replayed_complete(start: Start, sandbox: Sandbox) -> None:
    """The same bytes with another credential, and nothing else has changed."""
    daemon = await start()
    sandbox.revoke_access_tokens()
    body = bytes(range(256)) * 64
    given = {"Content-Type": "application/octet-stream", "x-mine": "kept"}
    reply = await daemon.client.send(ECHO, data=body, headers=given)
    assert marks(reply) == ("refresh", None)
    first, second = sandbox.upstream.records
    assert first.body_sha256 == second.body_sha256
    assert first.body_length == second.body_length == len(body)
    assert first.access_fingerprint != second.access_fingerprint
    for one, other in zip(first.raw_headers, second.raw_headers, strict=True):
        assert one == other or one[0] == other[0] == b"Authorization"


async def test_a_rejected_fresh_credential_is_marked(
    start: Start, sandbox: Sandbox
) -> None:
    """The 401 is the upstream's own; the field shows that a refresh did not help."""
    daemon = await start()
    sandbox.upstream.fault(UpstreamFault("answer", status=401, body=REFUSED))
    reply = await daemon.client.send()
    assert (reply.status, *marks(reply)) == (401, "refresh", None)
    assert reply.body == REFUSED.encode()
    (recovered,) = daemon.announced(RecoveryFinished)
    assert recovered.outcome is RecoveryOutcome.REFUSED


async def test_a_throttled_recovery_marks_the_upstreams_response(
    timed_start: Start, timed_sandbox: Sandbox, clock: ManualClock
) -> None:
    """The steps before are named beside it, and later responses have no mark."""
    daemon = await timed_start(refresh_burst=1)
    await clock.wait_for_sleepers(2)
    timed_sandbox.revoke_access_tokens()
    assert marks(await daemon.client.send()) == ("refresh", None)
    write_login(daemon.store, timed_sandbox.auth_document())
    timed_sandbox.revoke_access_tokens()
    reply = await daemon.client.send()
    assert (reply.status, *marks(reply)) == (401, "reload", "refresh_throttled")
    assert b"token_invalidated" in reply.body
    assert reply.headers["x-openai-authorization-error"] == "token_invalidated"
    clock.seconds += 30
    assert (await daemon.client.send()).status == 200
    assert marks(await daemon.client.send()) == (None, None)
    assert (timed_sandbox.authority.calls, timed_sandbox.authority.reused) == (2, 0)


async def test_a_body_too_large_to_replay_marks_its_401(
    start: Start, sandbox: Sandbox
) -> None:
    """It cannot be sent again; the credential is refreshed all the same, for the next
    request.
    """
    daemon = await start(replay_limit_bytes=1000)
    sandbox.revoke_access_tokens()
    reply = await daemon.client.send(ECHO, data=b"x" * 5000)
    assert (reply.status, reply.code) == (401, "replay_abandoned")
    assert reply.headers["x-openai-authorization-error"] == "token_invalidated"
    assert sandbox.authority.calls == 1
    reply = await daemon.client.send(ECHO, data=b"x" * 5000)
    assert (reply.status, *marks(reply)) == (200, None, None)
    assert [record.body_length for record in sandbox.upstream.records] == [5000, 5000]


@pytest.mark.parametrize("status", [200, 401, 500])
async def test_the_upstream_cannot_set_our_fields(
    start: Start, sandbox: Sandbox, status: int
) -> None:
    """The upstream's fields of these names are removed, whatever the response is. A 401
    is tried once with a fresh credential, of which the client is told in our field; from
    then on the path is known to reject whatever it gets.
    """
    daemon = await start()
    sandbox.upstream.extra_headers.extend(
        [("X-Bearerd-Error", "login_required"), ("x-bearerd-recovery", "reload")]
    )
    assert (await daemon.client.send()).status == 200
    if status != 200:
        sandbox.upstream.fault(
            UpstreamFault(
                "answer", status=status, body='{"detail":"no"}', path="codex/models"
            )
        )
    if status == 401:
        assert marks(await daemon.client.get(MODELS)) == ("refresh", None)
        assert marks(await daemon.client.send()) == (None, None)
    reply = await daemon.client.get(MODELS)
    assert (reply.status, *marks(reply)) == (status, None, None)


async def test_a_response_of_ours_has_nothing_of_the_upstreams_401(
    start: Start, sandbox: Sandbox
) -> None:
    """One error, one content type, and no field of the 401 that began the recovery."""
    daemon = await start()
    sandbox.upstream.extra_headers["x-first"] = "1"
    fault = AuthorityFault("answer", status=503, retry_after="7", before_spending=True)
    sandbox.authority.fault(fault)
    sandbox.revoke_access_tokens()
    reply = await daemon.client.send()
    assert (reply.status, *marks(reply)) == (503, None, "authority_unavailable")
    assert "answered 503; the login is kept" in reply.message
    assert "the next attempt is in 7 s" in reply.message
    assert reply.headers["Retry-After"] == "5"  # to ask us costs the authority nothing
    assert reply.headers["Content-Type"] == "application/json"
    assert not {"x-first", "x-openai-authorization-error"} & set(reply.headers)
