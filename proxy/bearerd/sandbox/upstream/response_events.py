"""The events of a Responses stream: one turn of a model.

Pure. The order and the fields are those that Codex CLI and the OpenAI SDKs require:
numbered events, the full response object in `created` and `completed`, the item and its
content part added and done, and the usage.
"""

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

OUTPUT_TEXT = "Hello from the bearerd sandbox."
MODEL = "gpt-5.5"
# Placeholders, of the same length as the values that replace them in each turn, so that a
# turn is rendered once.
TURN_ID = "0123456789abcdef" * 3
SENT_AT_NS = "90000000000000000001"  # larger than any time of a 64-bit clock


@dataclass(frozen=True, slots=True)
class StreamScript:
    """The form of a stream: `deltas` text events, `interval_seconds` apart.

    By default the deltas are the parts of a short sentence; with `delta_bytes` each one
    has that many letters. With `stamped` each delta has `sandbox_sent_at_ns`, the time on
    the monotonic clock when it was sent.
    """

    deltas: int = 5
    delta_bytes: int | None = None
    interval_seconds: float = 0
    stamped: bool = False

    def __post_init__(self) -> None:
        size = 1 if self.delta_bytes is None else self.delta_bytes
        if self.deltas < 1 or size < 1 or self.interval_seconds < 0:
            raise ValueError(
                "deltas and delta_bytes must be at least 1, interval_seconds at least 0"
            )

    def delta_texts(self) -> list[str]:
        """Return the text of each delta; together they are the output text."""
        if self.delta_bytes is not None:
            return ["x" * self.delta_bytes] * self.deltas
        cuts = [len(OUTPUT_TEXT) * n // self.deltas for n in range(self.deltas + 1)]
        return [OUTPUT_TEXT[a:b] for a, b in pairwise(cuts)]


def response_events(script: StreamScript) -> Iterator[bytes]:
    """Yield the JSON of each event of a new turn, in order."""
    turn_id = secrets.token_hex(len(TURN_ID) // 2).encode()
    for event in _rendered(script):
        yield event.replace(TURN_ID.encode(), turn_id)


def warm_up_events() -> Iterator[bytes]:
    """Yield the two events for a request that generates nothing."""
    turn_id = secrets.token_hex(len(TURN_ID) // 2).encode()
    for number, status in enumerate(("in_progress", "completed")):
        event = _event(
            number,
            "response.completed" if number else "response.created",
            response=_response(status, output=[]),
        )
        yield event.replace(TURN_ID.encode(), turn_id)


def as_stream_event(event: bytes) -> bytes:
    """Return an event in the format of `text/event-stream`."""
    # `_event` writes the type first: {"type":"NAME",...
    name = event[9 : event.index(b'"', 9)]
    return b"event: %b\ndata: %b\n\n" % (name, event)


@lru_cache(maxsize=32)
def _rendered(script: StreamScript) -> list[bytes]:
    """Return the events of a turn, with the placeholders."""
    delta_texts = script.delta_texts()
    text = "".join(delta_texts)
    position = {"item_id": f"msg_{TURN_ID}", "output_index": 0, "content_index": 0}
    stamp = {"sandbox_sent_at_ns": int(SENT_AT_NS)} if script.stamped else {}
    steps: list[tuple[str, dict[str, object]]] = [
        ("response.created", {"response": _response("in_progress", output=[])}),
        ("response.in_progress", {"response": _response("in_progress", output=[])}),
        ("response.output_item.added", {"output_index": 0, "item": _message(None)}),
        ("response.content_part.added", {**position, "part": _part("")}),
        *(
            (
                "response.output_text.delta",
                {**position, "delta": delta_text, "logprobs": []} | stamp,
            )
            for delta_text in delta_texts
        ),
        ("response.output_text.done", {**position, "text": text, "logprobs": []}),
        ("response.content_part.done", {**position, "part": _part(text)}),
        ("response.output_item.done", {"output_index": 0, "item": _message(text)}),
        (
            "response.completed",
            {"response": _response("completed", output=[_message(text)])},
        ),
    ]
    return [_event(n, name, **fields) for n, (name, fields) in enumerate(steps)]


def _event(sequence_number: int, name: str, **fields: object) -> bytes:
    event = {"type": name, "sequence_number": sequence_number, **fields}
    return json.dumps(event, separators=(",", ":")).encode()


def _part(text: str) -> dict[str, object]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _message(text: str | None) -> dict[str, object]:
    """Return the item of the response: completed with a text, else in progress."""
    return {
        "id": f"msg_{TURN_ID}",
        "type": "message",
        "status": "in_progress" if text is None else "completed",
        "role": "assistant",
        "content": [] if text is None else [_part(text)],
    }


def _response(status: str, *, output: list[dict[str, object]]) -> dict[str, object]:
    """Return the response object for `created` and `completed`."""
    usage = {
        "input_tokens": 11,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 18,
    }
    return {
        "id": f"resp_{TURN_ID}",
        "object": "response",
        "created_at": 1_760_000_000,
        "model": MODEL,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "prompt_cache_key": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": usage if status == "completed" else None,
        "user": None,
    }
