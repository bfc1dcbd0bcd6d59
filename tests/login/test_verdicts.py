"""Point 1 and 10: what ends a login, what does not, and what clients are told meanwhile."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from tests.login.clocks import needs_compiler
from tests.login.http1 import Response
from tests.login.lab import PLAIN_401, error, hangs, says
from tests.login.processes import Daemon, Reply, reached
from tests.login.world import World

HTML = {"content-type": "text/html"}
FINAL = {
    "expired": error(401, "refresh_token_expired"),
    "reused": error(401, "refresh_token_reused"),
    "reused_400": error(400, "refresh_token_reused"),
    "invalidated": error(403, "REFRESH_TOKEN_INVALIDATED"),
    "invalid_grant": Response.of_json(400, {"error": "invalid_grant"}),
    "invalid_grant_code": error(400, "invalid_grant"),
}
PASSING = {
    "plain_401": PLAIN_401,
    "empty_401": Response(401),
    "html_401": Response(401, b"<html>Sign in to the network</html>", HTML),
    "html_403": Response(403, b"<html>blocked</html>", HTML),
    "plain_403": Response.of_json(403, {"detail": "Forbidden"}),
    "proxy_407": Response(407, b"", {"proxy-authenticate": "Basic"}),
    "unknown_code_401": error(401, "token_expired"),
    "not_found": Response(404, b"no such page"),
    "json_list_401": Response.of_json(401, ["refresh_token_reused"]),
    "error_in_text": Response(401, b"refresh_token_reused", HTML),
}
CONFIGURATION = {
    "invalid_client_401": error(401, "invalid_client"),
    "invalid_client_400": Response.of_json(400, {"error": "invalid_client"}),
    "unauthorized_client": Response.of_json(400, {"error": "unauthorized_client"}),
}


async def keep_asking(daemon: Daemon, seconds: float, pause: float) -> list[Reply]:
    """Send requests for some seconds, one after another."""
    replies, deadline = [], time.monotonic() + seconds
    while time.monotonic() < deadline:
        replies.append(await daemon.ask())
        await asyncio.sleep(pause)
    return replies


def is_served(reply: Reply) -> bool:
    """Return True for a good response of the upstream."""
    return reply.status == 200


@pytest.mark.parametrize("seconds", [2.0, 7.0])
async def test_served_again_after_an_incident_on_both_sides(
    world: World, seconds: float
) -> None:
    """Both sides answer a plain 401 for a while; both tokens stay alive."""
    family = world.log_in()
    daemon = await world.serve()
    assert (await daemon.ask()).status == 200
    world.upstream.outage = PLAIN_401
    world.authority.always = says(PLAIN_401)
    during = await keep_asking(daemon, seconds, 0.2)
    assert not [reply for reply in during if reply.code == "login_required"]
    world.upstream.outage = None
    world.authority.scenes.clear()
    after = await reached(daemon.ask, is_served, "served again", seconds=3)
    assert after.status == 200
    world.assert_kept(family)
    assert len(world.authority.calls) <= 6
    assert world.stored_refresh_token() == family.refresh_tokens[0]


async def test_served_again_after_an_incident_in_which_the_access_token_died(
    world: World,
) -> None:
    """The access token is dead after the incident; only a refresh helps, and it comes."""
    family = world.log_in()
    grant = world.authority.always
    daemon = await world.serve()
    world.upstream.outage = PLAIN_401
    world.authority.always = says(PLAIN_401)
    await keep_asking(daemon, 2, 0.2)
    world.authority.revoke_access_tokens()
    world.upstream.outage = None
    world.authority.always = grant
    await reached(daemon.ask, is_served, "served again", seconds=90, pause=0.5)
    world.assert_kept(family)


@needs_compiler
@pytest.mark.parametrize("name", PASSING)
async def test_a_passing_refusal_is_not_the_end(world: World, name: str) -> None:
    """A refusal that does not speak of the token: 503, and served within two minutes."""
    clock = world.live_by(30)
    family = world.log_in()
    grant = world.authority.always
    daemon = await world.serve(authority_timeout_seconds=300)
    world.authority.revoke_access_tokens()
    world.authority.always = says(PASSING[name])
    replies = [await daemon.ask() for _ in range(4)]
    assert {(reply.status, reply.code) for reply in replies} == {
        (503, "authority_unavailable")
    }
    for reply in replies:
        assert 1 <= int(reply.headers["retry-after"]) <= 5, reply.headers
        assert "bearerd login" not in reply.message, reply
    await daemon.stop()
    world.authority.always = grant
    daemon = await world.serve(authority_timeout_seconds=300)
    seconds = clock.real(150) + 5
    await reached(daemon.ask, is_served, "served after a restart", seconds)
    world.assert_kept(family)
    assert len(world.authority.calls) <= 3


@pytest.mark.parametrize("name", CONFIGURATION)
async def test_a_wrong_client_id_is_cured_by_a_restart(world: World, name: str) -> None:
    """The message names `client_id`; nothing on disk condemns the login."""
    family = world.log_in()
    grant = world.authority.always
    daemon = await world.serve(client_id="app_wrong")
    world.authority.revoke_access_tokens()
    world.authority.always = says(CONFIGURATION[name])
    replies = [await daemon.ask() for _ in range(3)]
    assert {reply.status for reply in replies} == {503}, replies
    assert "client_id" in replies[-1].message, replies
    assert "bearerd login" not in replies[-1].message
    await daemon.stop()
    world.authority.always = grant
    daemon = await world.serve()
    reply = await daemon.ask()
    assert reply.status == 200, reply
    world.assert_kept(family, calls=2)


async def test_a_wrong_client_id_with_an_authority_that_knows_ids(world: World) -> None:
    """The authority itself judges the client id; correction and restart serve at once."""
    family = world.log_in()
    world.authority.revoke_access_tokens()
    daemon = await world.serve(client_id="app_wrong")
    assert (await daemon.ask()).status == 503
    await daemon.kill()
    daemon = await world.serve()
    assert (await daemon.ask()).status == 200
    world.assert_kept(family)


async def test_a_wrong_token_url_is_cured_by_a_restart(world: World) -> None:
    """A page that is not the authority answers 401; the next token URL is asked at once."""
    family = world.log_in()
    world.authority.revoke_access_tokens()
    daemon = await world.serve(token_url=world.authority.url + "/wrong/token")
    assert (await daemon.ask()).status == 503
    await daemon.stop()
    daemon = await world.serve()
    assert (await daemon.ask()).status == 200
    world.assert_kept(family, calls=1)


@pytest.mark.parametrize("name", FINAL)
async def test_a_refusal_of_the_token_is_final(world: World, name: str) -> None:
    """One call, then 401 `login_required` at once, after a restart too; a login cures it."""
    world.log_in()
    grant = world.authority.always
    daemon = await world.serve()
    world.authority.revoke_access_tokens()
    world.authority.always = says(FINAL[name])
    for _ in range(3):
        reply = await daemon.ask()
        assert (reply.status, reply.code) == (401, "login_required")
    await daemon.stop()
    daemon = await world.serve()
    assert (await daemon.ask()).code == "login_required"
    assert len(world.authority.calls) == 1
    world.authority.always = grant
    world.log_in()
    await reached(daemon.ask, is_served, "served by the new login", seconds=8)


async def test_a_touched_file_asks_again_after_a_final_refusal(world: World) -> None:
    """The authority has refused by mistake; `touch` makes bearerd ask once more."""
    family = world.log_in()
    daemon = await world.serve()
    world.authority.revoke_access_tokens()
    world.authority.scenes.append(says(FINAL["invalid_grant"]))
    assert (await daemon.ask()).code == "login_required"
    assert (await daemon.ask()).code == "login_required"
    assert len(world.authority.calls) == 1
    stamp = time.time() + 1
    os.utime(world.store, (stamp, stamp))
    await reached(daemon.ask, is_served, "served again", seconds=8)
    world.assert_kept(family, calls=2)


async def test_token_retry_asks_again_after_a_final_refusal(world: World) -> None:
    """`bearerd token --retry` overrides what is remembered."""
    family = world.log_in()
    daemon = await world.serve()
    world.authority.revoke_access_tokens()
    world.authority.scenes.append(says(FINAL["invalidated"]))
    assert (await daemon.ask()).code == "login_required"
    finished = await world.run("token", "--retry")
    assert finished.code == 0, finished
    await reached(daemon.ask, is_served, "served again", seconds=8)
    world.assert_kept(family, calls=2)


async def test_a_final_refusal_is_forgotten_when_the_upstream_accepts(
    world: World,
) -> None:
    """Upstream 401 and a final refusal, both by mistake; then the upstream accepts again."""
    family = world.log_in()
    daemon = await world.serve()
    assert (await daemon.ask()).status == 200
    world.upstream.outage = PLAIN_401
    world.authority.always = says(FINAL["invalidated"])
    for _ in range(3):
        await daemon.ask()
    world.upstream.outage = None
    await daemon.stop()
    daemon = await world.serve()
    await reached(daemon.ask, is_served, "the live access token is used", seconds=5)
    assert family.is_alive


async def test_the_refusal_is_kept_for_one_token_url_and_client(world: World) -> None:
    """Another client id or token URL is not bound by the refusal."""
    world.log_in()
    world.authority.revoke_access_tokens()
    daemon = await world.serve()
    world.authority.scenes.append(says(FINAL["invalid_grant"]))
    assert (await daemon.ask()).code == "login_required"
    await daemon.stop()
    world.authority.client_id = "app_other"
    daemon = await world.serve(client_id="app_other")
    assert (await daemon.ask()).status == 200


async def test_a_hanging_authority_is_a_503_within_the_patience(world: World) -> None:
    """Each request gets its 503 after `authority_timeout_seconds`, with a short pause."""
    world.log_in()
    daemon = await world.serve(authority_timeout_seconds=1)
    world.authority.revoke_access_tokens()
    world.authority.always = hangs(spends=False)
    replies = await asyncio.gather(*(daemon.ask() for _ in range(5)))
    for reply in replies:
        assert (reply.status, reply.code) == (503, "authority_unavailable")
        assert 1 <= int(reply.headers["retry-after"]) <= 5
        assert reply.seconds < 3
    assert len(world.authority.calls) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_clients_are_back_within_seconds_of_the_authority(
    world: World, status: int
) -> None:
    """The authority fails for three seconds without saying when to come back."""
    family = world.log_in()
    grant = world.authority.always
    daemon = await world.serve()
    world.authority.revoke_access_tokens()
    world.authority.always = says(Response.of_json(status, {"error": "busy"}))
    replies = await keep_asking(daemon, 3, 0.3)
    assert {reply.status for reply in replies} == {503}
    assert all(1 <= int(reply.headers["retry-after"]) <= 5 for reply in replies)
    world.authority.always = grant
    began = time.monotonic()
    await reached(daemon.ask, is_served, "served again", seconds=20)
    assert time.monotonic() - began < 10
    world.assert_kept(family)


@pytest.mark.parametrize(
    ("status", "word"), [(429, "429"), (403, "403"), (502, "502"), (400, "400")]
)
async def test_the_message_says_what_the_authority_answered(
    world: World, status: int, word: str
) -> None:
    """The message has the status, and does not say that nobody was reached."""
    world.log_in()
    daemon = await world.serve()
    world.authority.revoke_access_tokens()
    world.authority.always = says(Response.of_json(status, {"detail": "no"}))
    reply = await daemon.ask()
    assert word in reply.message, reply
    assert "not reached" not in reply.message, reply


async def test_failures_are_counted_each_time_and_logged_once(world: World) -> None:
    """Point 16: the metric counts every call; the log has one line for one trouble."""
    world.log_in()
    daemon = await world.serve(refresh_interval_seconds=0.5)
    world.authority.revoke_access_tokens()
    world.authority.always = says(Response.of_json(500, {"error": "busy"}))
    calls = world.authority.calls
    await reached(daemon.ask, lambda _: len(calls) >= 4, "four calls", seconds=20)
    total = await daemon.metric("bearerd_refreshes_total")
    assert total == len(calls), (total, len(calls))
    told = [line for line in daemon.lines if line.get("level") in {"warning", "error"}]
    assert len(told) <= 2, told
