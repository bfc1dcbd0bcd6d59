"""Points 1, 10 and 16: what ends a login, what does not, and what clients get meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import time

import pytest

from tests.login.clocks import needs_compiler
from tests.login.http1 import Response
from tests.login.lab import PLAIN_401, error, hangs, says
from tests.login.processes import Daemon, Reply, reached, until
from tests.login.world import World

HTML = {"content-type": "text/html"}
FINAL = {
    "expired": error(401, "refresh_token_expired"),
    "reused": error(401, "refresh_token_reused"),
    "reused_400": error(400, "refresh_token_reused"),
    "reused_200": error(200, "refresh_token_reused"),
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


def assert_asks_to_come_back(reply: Reply, name: object) -> None:
    """Assert that a reply is a 503 which asks for another try within 1 to 5 s."""
    assert (reply.status, reply.code) == (503, "authority_unavailable"), (name, reply)
    assert 1 <= int(reply.headers["retry-after"]) <= 5, (name, reply.headers)
    assert "bearerd login" not in reply.message, (name, reply)


# A refusal that is not about the token.


async def test_served_again_after_an_incident_of_six_seconds(world: World) -> None:
    """Both sides answer a plain 401, in real time; both tokens stay alive."""
    family = world.log_in()
    daemon = await world.serve()
    assert (await daemon.ask()).status == 200
    world.upstream.outage = PLAIN_401
    world.authority.always = says(PLAIN_401)
    during = await keep_asking(daemon, 6, 0.2)
    assert not [reply for reply in during if reply.code == "login_required"]
    world.upstream.outage = None
    await reached(daemon.ask, is_served, "served again", seconds=3)
    world.assert_kept(family)
    assert len(world.authority.calls) <= 5
    assert world.stored_refresh_token() == family.refresh_tokens[0]
    assert not daemon.logged("login.needed")


@needs_compiler
async def test_a_passing_refusal_is_not_the_end(world: World) -> None:
    """503 meanwhile, and served within two minutes of the authority's recovery."""
    clock = world.live_by(150)
    family = world.log_in()
    grant = world.authority.always
    daemon = await world.serve(
        authority_timeout_seconds=300, refresh_burst=50, refresh_interval_seconds=1
    )
    for name, response in PASSING.items():
        world.authority.revoke_access_tokens()
        world.authority.always = says(response)
        calls = len(world.authority.calls)
        for _ in range(3):
            assert_asks_to_come_back(await daemon.ask(), name)
        assert len(world.authority.calls) - calls <= 2, name
        world.authority.always = grant
        await reached(daemon.ask, is_served, name, clock.real(150) + 5)
    world.assert_kept(family)


@needs_compiler
async def test_a_passing_refusal_is_not_the_end_after_a_restart(world: World) -> None:
    """Nothing on disk condemns the login: it is served within two minutes."""
    clock = world.live_by(60)
    family = world.log_in()
    grant = world.authority.always
    daemon = await world.serve(authority_timeout_seconds=300)
    world.authority.revoke_access_tokens()
    world.authority.always = says(PLAIN_401)
    assert_asks_to_come_back(await daemon.ask(), "before")
    await daemon.stop()
    world.authority.always = grant
    daemon = await world.serve(authority_timeout_seconds=300)
    await reached(daemon.ask, is_served, "after a restart", clock.real(150) + 5)
    world.assert_kept(family, calls=2)


@needs_compiler
async def test_a_person_is_asked_for_after_a_while(world: World) -> None:
    """A refusal that passes by itself needs no person; one that lasts does."""
    clock = world.live_by(120)
    world.log_in(ttl=-5)
    world.authority.always = says(PLAIN_401)
    daemon = await world.serve(authority_timeout_seconds=300)
    began = clock.now()
    await daemon.ask()

    async def state() -> Reply:
        return await daemon.admin("/api/status")

    def needs_person(reply: Reply) -> bool:
        (profile,) = json.loads(reply.body)["profiles"]
        assert profile["code"] == "authority_unavailable", profile
        assert not profile["needs_sign_in"], profile
        return bool(profile["needs_person"])

    assert not needs_person(await state())
    await reached(state, needs_person, "a person is needed", clock.real(900) + 5)
    assert clock.now() - began > 500


async def test_a_wrong_client_id_is_cured_by_a_restart(world: World) -> None:
    """The message names `client_id`; nothing on disk condemns the login."""
    family = world.log_in()
    daemon = await world.serve(client_id="app_wrong")
    world.authority.revoke_access_tokens()
    for _ in range(3):
        reply = await daemon.ask()
        assert (reply.status, reply.code) == (503, "authority_unavailable"), reply
        assert "client_id" in reply.message, reply
        assert "bearerd login" not in reply.message, reply
    await daemon.stop()
    assert len(world.authority.calls) == 1
    daemon = await world.serve()
    reply = await daemon.ask()
    assert reply.status == 200, reply
    world.assert_kept(family, calls=2)


@needs_compiler
async def test_each_form_of_a_client_that_is_rejected(world: World) -> None:
    """All of them name the setting, and none of them ends the login."""
    clock = world.live_by(150)
    family = world.log_in()
    grant = world.authority.always
    daemon = await world.serve(
        authority_timeout_seconds=300, refresh_burst=50, refresh_interval_seconds=1
    )
    for name, response in CONFIGURATION.items():
        world.authority.revoke_access_tokens()
        world.authority.always = says(response)
        reply = await daemon.ask()
        assert_asks_to_come_back(reply, name)
        assert "client_id" in reply.message, (name, reply)
        world.authority.always = grant
        await reached(daemon.ask, is_served, name, clock.real(150) + 5)
    world.assert_kept(family)


async def test_a_wrong_token_url_is_cured_by_a_restart(world: World) -> None:
    """A page that is not the authority answers 404; the right URL is asked at once."""
    family = world.log_in()
    world.authority.revoke_access_tokens()
    daemon = await world.serve(token_url=world.authority.url + "/wrong/token")
    assert (await daemon.ask()).status == 503
    await daemon.stop()
    daemon = await world.serve()
    assert (await daemon.ask()).status == 200
    world.assert_kept(family, calls=1)


# A refusal of the token, and what overrides it.


async def test_a_refusal_of_the_token_is_final(world: World) -> None:
    """One call, then 401 `login_required` at once; a new login cures it."""
    world.log_in()
    grant = world.authority.always
    daemon = await world.serve(refresh_burst=50)
    for number, (name, response) in enumerate(FINAL.items(), start=1):
        await reached(daemon.ask, is_served, name, seconds=8)
        world.authority.revoke_access_tokens()
        world.authority.always = says(response)
        for _ in range(3):
            reply = await daemon.ask()
            assert (reply.status, reply.code) == (401, "login_required"), (name, reply)
        assert len(world.authority.calls) == number, name
        world.authority.always = grant
        world.log_in()
    await reached(daemon.ask, is_served, "served by the last login", seconds=8)


async def test_a_refusal_of_the_token_is_final_after_a_restart(world: World) -> None:
    """The authority is not asked again for what it has refused for good."""
    world.log_in()
    world.authority.revoke_access_tokens()
    world.authority.scenes.append(says(FINAL["invalid_grant"]))
    daemon = await world.serve()
    assert (await daemon.ask()).code == "login_required"
    await daemon.stop()
    daemon = await world.serve()
    assert (await daemon.ask()).code == "login_required"
    assert len(world.authority.calls) == 1


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
    """`bearerd token --retry` overrides what is remembered; the daemon takes it up."""
    family = world.log_in()
    daemon = await world.serve()
    world.authority.revoke_access_tokens()
    world.authority.scenes.append(says(FINAL["invalidated"]))
    assert (await daemon.ask()).code == "login_required"
    finished = await world.run("token", "--retry")
    assert finished.code == 0, finished
    assert finished.stdout.strip() in family.access_tokens
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


@pytest.mark.parametrize("changed", ["client_id", "token_url"])
async def test_the_refusal_is_kept_for_one_token_url_and_client(
    world: World, changed: str
) -> None:
    """Another client id, or another token URL, is not bound by the refusal."""
    world.log_in()
    world.authority.revoke_access_tokens()
    daemon = await world.serve()
    world.authority.scenes.append(says(FINAL["invalid_grant"]))
    assert (await daemon.ask()).code == "login_required"
    await daemon.stop()
    setting = "app_other"
    if changed == "client_id":
        world.authority.client_id = setting
    else:
        other_name = world.authority.url.replace("127.0.0.1", "localhost")
        setting = f"{other_name}/oauth/token"
    daemon = await world.serve(**{changed: setting})
    assert (await daemon.ask()).status == 200


# What clients get while the authority fails.


async def test_a_hanging_authority_is_a_503_within_the_patience(world: World) -> None:
    """Each request gets its 503 after `authority_timeout_seconds`, with a short pause."""
    world.log_in()
    daemon = await world.serve(authority_timeout_seconds=1)
    world.authority.revoke_access_tokens()
    world.authority.always = hangs(spends=False)
    replies = await asyncio.gather(*(daemon.ask() for _ in range(5)))
    for reply in replies:
        assert_asks_to_come_back(reply, "hangs")
        assert reply.seconds < 4
    assert len(world.authority.calls) == 1


async def test_clients_are_back_within_seconds_of_the_authority(world: World) -> None:
    """The authority fails for two seconds without saying when to come back."""
    family = world.log_in()
    grant = world.authority.always
    daemon = await world.serve(refresh_burst=50)
    for status in (429, 500):
        world.authority.revoke_access_tokens()
        world.authority.always = says(Response.of_json(status, {"error": "busy"}))
        for reply in await keep_asking(daemon, 2, 0.2):
            assert_asks_to_come_back(reply, status)
        world.authority.always = grant
        await reached(daemon.ask, is_served, f"served after {status}", seconds=8)
    world.assert_kept(family)


# Messages, counts and the log.


async def test_the_message_says_what_the_authority_answered(world: World) -> None:
    """It has the status, and does not say that nothing was reached."""
    daemon = await world.serve(refresh_burst=50)
    for status in (429, 403, 502, 400):
        await message_says(world, daemon, status)
    assert {call.standing for call in world.authority.calls} == {"live"}


async def message_says(world: World, daemon: Daemon, status: int) -> None:
    """Return once the message for a login whose refresh gets *status* has that in it."""
    world.authority.always = says(Response.of_json(status, {"detail": "no"}))
    world.log_in(ttl=-5)
    reply = await reached(
        daemon.ask,
        lambda reply: f"answered {status}" in reply.message,
        f"the message for {status}",
        seconds=8,
    )
    assert reply.status == 503, reply
    assert "not reached" not in reply.message, reply


@needs_compiler
async def test_failures_are_counted_each_time_and_logged_once(world: World) -> None:
    """The metric counts every call; the log has one line for one trouble."""
    world.live_by(10)
    world.log_in()
    daemon = await world.serve(refresh_interval_seconds=1)
    world.authority.revoke_access_tokens()
    world.authority.always = says(Response.of_json(500, {"error": "busy"}))
    calls = world.authority.calls
    await reached(daemon.ask, lambda _: len(calls) >= 4, "four calls", pause=0.02)
    await until(
        lambda: len(daemon.logged("refresh.failed", is_call=True)) >= 4, "logged"
    )
    total = await daemon.metric("bearerd_refreshes_total")
    assert total == len(calls), (total, len(calls))
    warnings = daemon.logged("refresh.failed", level="warning")
    assert len(warnings) == 1, warnings
    assert not daemon.logged("login.needed")
