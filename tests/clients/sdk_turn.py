"""One turn of the OpenAI SDK, told in JSON. Runs where the SDK is, not where bearerd is.

Usage: sdk_turn.py BASE_URL WAY, the key in CLIENT_KEY. WAY is `create` or `helper`.
"""

from __future__ import annotations

import json
import os
import sys

import openai  # type: ignore[import-not-found]

TURN = {
    "model": "gpt-5.5",
    "instructions": "Be brief.",
    "input": [{"role": "user", "content": "say hello"}],
    "store": False,
}


def stream_of_create(client: openai.OpenAI) -> str:
    """Return the text as the deltas of `create(stream=True)` tell it."""
    events = client.responses.create(**TURN, stream=True)
    return "".join(e.delta for e in events if e.type == "response.output_text.delta")


def final_of_helper(client: openai.OpenAI) -> str:
    """Return the text of the whole response that the streaming helper puts together."""
    with client.responses.stream(**TURN) as stream:
        return str(stream.get_final_response().output_text)


def main(base_url: str, way: str) -> dict[str, object]:
    """Return the response, or what was raised instead."""
    client = openai.OpenAI(base_url=base_url, api_key=os.environ["CLIENT_KEY"])
    try:
        turn = {"create": stream_of_create, "helper": final_of_helper}[way]
        return {"text": turn(client)}
    except openai.APIError as error:
        status = getattr(error, "status_code", None)
        raised = type(error).__name__
        return {"raised": raised, "status": status, "message": str(error)}


if __name__ == "__main__":
    json.dump(main(*sys.argv[1:]), sys.stdout)
