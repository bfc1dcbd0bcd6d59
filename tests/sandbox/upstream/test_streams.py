"""The event stream and the WebSocket."""

import asyncio
import itertools
import json

import aiohttp
import pytest

from bearerd.sandbox import Sandbox, StreamScript
from bearerd.sandbox.upstream.response_events import OUTPUT_TEXT
from tests.sandbox.conftest import login

Event = dict[str, object]


def headers(sandbox: Sandbox, **more: str) -> dict[str, str]:
    """Return the fields of a request with a live token."""
    return {"Authorization": f"Bearer {login(sandbox)['access_token']}", **more}


def parse(stream: str) -> list[Event]:
    """Return the events of a stream, each of which names its type twice."""
    events = []
    for block in stream.removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    return events


async def turn(sandbox: Sandbox, http: aiohttp.ClientSession) -> list[Event]:
    """Return the events of one turn."""
    url = f"{sandbox.upstream_url}/codex/responses"
    async with http.post(url, headers=headers(sandbox), json={}) as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        assert response.headers["Transfer-Encoding"] == "chunked"
        return parse(await response.text())


async def test_a_turn_has_the_events_that_clients_need(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """They are in order and numbered; the item is opened and closed; usage is last."""
    sandbox.upstream.streams.script = StreamScript(deltas=2)
    events = await turn(sandbox, http)
    assert [event["type"] for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event["sequence_number"] for event in events] == list(range(10))
    created, completed = events[0]["response"], events[-1]["response"]
    assert isinstance(created, dict)
    assert isinstance(completed, dict)
    assert created["id"] == completed["id"]
    assert set(created) == set(completed)
    assert (created["status"], completed["status"]) == ("in_progress", "completed")
    assert created["usage"] is None
    assert completed["usage"]["total_tokens"] == 18
    item = events[8]["item"]
    assert completed["output"] == [item]
    assert events[2]["item"]["id"] == events[4]["item_id"] == item["id"]  # type: ignore[index]


async def test_the_text_is_the_same_in_pieces_and_whole(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """Deltas and `done` events agree, and the ids differ from turn to turn."""
    one, two = await turn(sandbox, http), await turn(sandbox, http)
    for events in (one, two):
        pieces = [str(event["delta"]) for event in events if "delta" in event]
        assert len(pieces) == 5
        assert "".join(pieces) == OUTPUT_TEXT
        assert [event["text"] for event in events if "text" in event] == [OUTPUT_TEXT]
    assert one[4]["item_id"] != two[4]["item_id"]


async def test_number_and_size_of_the_deltas_can_be_chosen(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """Load tests choose them."""
    sandbox.upstream.streams.script = StreamScript(deltas=30, delta_bytes=100)
    pieces = [
        str(event["delta"]) for event in await turn(sandbox, http) if "delta" in event
    ]
    assert [len(piece) for piece in pieces] == [100] * 30


async def test_a_stamped_delta_has_the_time_when_it_was_sent() -> None:
    """By the given clock, so a load test can measure how long it took to arrive."""
    script = StreamScript(deltas=3, stamped=True)
    ticks = itertools.count()  # one for each event, the fifth being the first delta
    async with Sandbox(monotonic_ns=lambda: next(ticks)) as sandbox:
        sandbox.upstream.streams.script = script
        async with aiohttp.ClientSession() as http:
            events = await turn(sandbox, http)
    assert [event["sandbox_sent_at_ns"] for event in events if "delta" in event] == [
        4,
        5,
        6,
    ]


async def test_events_come_at_the_chosen_interval() -> None:
    """It lies between events, not before the first one."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async with Sandbox(sleep=sleep) as sandbox:
        sandbox.upstream.streams.script = StreamScript(deltas=2, interval_seconds=0.02)
        async with aiohttp.ClientSession() as http:
            events = await turn(sandbox, http)
    assert slept == [0.02] * (len(events) - 1)


@pytest.mark.parametrize(
    "wrong", [{"deltas": 0}, {"interval_seconds": -1}, {"delta_bytes": 0}]
)
def test_an_impossible_script_is_refused(wrong: dict[str, int]) -> None:
    """When it is made, not when a stream starts."""
    with pytest.raises(ValueError, match="at least 1"):
        StreamScript(**wrong)  # type: ignore[arg-type]


async def test_a_stream_can_be_held_midway_and_has_sent_all_before(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """Each event leaves as it comes, so the client reads all that were sent."""
    streams = sandbox.upstream.streams
    streams.gate_after_events = 3
    streams.gate.close()
    url = f"{sandbox.upstream_url}/codex/responses"
    async with http.post(url, headers=headers(sandbox), json={}) as response:
        await streams.gate.wait_for_waiting(1)
        assert streams.open == 1
        early = [await response.content.readuntil(b"\n\n") for _ in range(3)]
        assert b"output_item.added" in early[-1]
        streams.gate.open()
        assert b"response.completed" in await response.read()
    (record,) = sandbox.upstream.records
    assert record.outcome == "answered"
    assert streams.open == 0


async def test_a_head_can_be_sent_before_any_event(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """The gate after zero events: the client has its 200."""
    sandbox.upstream.streams.gate.close()
    url = f"{sandbox.upstream_url}/codex/responses"
    async with http.post(url, headers=headers(sandbox), json={}) as response:
        assert response.status == 200
        assert sandbox.upstream.records[0].sent_bytes == 0
    await sandbox.upstream.wait_for_abandoned(1)
    assert sandbox.upstream.streams.open == 0
    assert sandbox.upstream.records[0].status == 200


async def test_the_turn_state_is_echoed(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """Codex sends it back within a turn."""
    url = f"{sandbox.upstream_url}/codex/responses"
    async with http.post(url, headers=headers(sandbox)) as response:
        given = response.headers["x-codex-turn-state"]
    sent = headers(sandbox, **{"x-codex-turn-state": given + "-2"})
    async with http.post(url, headers=sent) as response:
        assert response.headers["x-codex-turn-state"] == given + "-2"


class TestWebSocket:
    """Upgrades of `codex/responses`."""

    async def test_an_upgrade_is_declined_with_426(
        self, sandbox: Sandbox, http: aiohttp.ClientSession
    ) -> None:
        """Every client then uses plain HTTP."""
        url = f"{sandbox.upstream_url}/codex/responses"
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(url, headers=headers(sandbox))
        assert refused.value.status == 426
        assert refused.value.headers is not None
        assert refused.value.headers["Upgrade"] == "websocket"

    async def test_an_upgrade_needs_a_live_token(
        self, sandbox: Sandbox, http: aiohttp.ClientSession
    ) -> None:
        """The credential is checked at the handshake."""
        sandbox.upstream.websocket = "accept"
        url = f"{sandbox.upstream_url}/codex/responses"
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(url, headers={"Authorization": "Bearer dead"})
        assert refused.value.status == 401

    async def test_turns_are_sent_in_text_frames(
        self, sandbox: Sandbox, http: aiohttp.ClientSession
    ) -> None:
        """A warm-up, a turn, an ignored type and a broken frame, on one socket."""
        sandbox.upstream.websocket = "accept"
        sandbox.upstream.streams.script = StreamScript(deltas=2, interval_seconds=1e-6)
        url = f"{sandbox.upstream_url}/codex/responses"
        async with http.ws_connect(url, headers=headers(sandbox)) as socket:
            await socket.send_json({"type": "response.create", "generate": False})
            warm_up = [await socket.receive_json() for _ in range(2)]
            assert [event["type"] for event in warm_up] == [
                "response.created",
                "response.completed",
            ]
            assert warm_up[1]["response"]["output"] == []
            await socket.send_json({"type": "response.processed"})
            await socket.send_json({"type": "response.create"})
            events = [await socket.receive_json() for _ in range(10)]
            assert events[-1]["type"] == "response.completed"
            for broken in ("{", "[]"):
                await socket.send_str(broken)
                assert (await socket.receive_json())["type"] == "error"
            await socket.send_bytes(b"x")
            assert (await socket.receive()).data == 1003
        assert sandbox.upstream.records[0].status == 101

    async def test_a_turn_can_be_held_on_a_websocket(
        self, sandbox: Sandbox, http: aiohttp.ClientSession
    ) -> None:
        """A client that drops the connection then is noticed."""
        sandbox.upstream.websocket = "accept"
        streams = sandbox.upstream.streams
        streams.gate_after_events = 1
        streams.gate.close()
        url = f"{sandbox.upstream_url}/codex/responses"
        socket = await http.ws_connect(url, headers=headers(sandbox))
        await socket.send_json({"type": "response.create"})
        assert (await socket.receive_json())["type"] == "response.created"
        await streams.gate.wait_for_waiting(1)
        closing = asyncio.create_task(socket.close())
        await http.close()
        await sandbox.upstream.wait_for_abandoned(1)
        await closing
        assert streams.open == 0
