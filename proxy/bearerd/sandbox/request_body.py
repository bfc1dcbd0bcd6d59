"""Request bodies: parsed into fields, or only counted and hashed."""

import hashlib
import json
from urllib.parse import parse_qsl

from aiohttp import web

from bearerd.sandbox.records import RequestRecord

FORM_TYPE = "application/x-www-form-urlencoded"
FIELD_TYPES = frozenset({"application/json", FORM_TYPE})


async def read_fields(request: web.BaseRequest) -> dict[str, str]:
    """Return the text fields of a JSON or form body; empty if it has none.

    RFC 6749 uses forms only; Codex sends its refresh grant as JSON.
    """
    body = await request.read()
    if request.content_type == FORM_TYPE:
        return dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
    try:
        fields = json.loads(body)
    except ValueError:
        return {}
    if not isinstance(fields, dict):
        return {}
    return {key: value for key, value in fields.items() if isinstance(value, str)}


async def read_body(request: web.BaseRequest, record: RequestRecord) -> None:
    """Read the request body and record its length and hash."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    digest = hashlib.sha256()
    if request.body_exists:
        async for chunk in request.content.iter_any():
            digest.update(chunk)
            record.receive(len(chunk))
    record.end_body(digest.hexdigest())
