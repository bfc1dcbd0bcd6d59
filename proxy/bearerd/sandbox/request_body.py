"""Request bodies: read as fields where they matter, counted where they do not."""

import hashlib
import json
from urllib.parse import parse_qsl

from aiohttp import web

from bearerd.sandbox.records import RequestRecord


async def read_fields(request: web.BaseRequest) -> dict[str, str]:
    """Return a body's text fields, sent as JSON or as a form; empty if neither."""
    body = await request.read()
    if request.content_type == "application/x-www-form-urlencoded":
        return dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
    try:
        fields = json.loads(body)
    except ValueError:
        return {}
    if not isinstance(fields, dict):
        return {}
    return {key: value for key, value in fields.items() if isinstance(value, str)}


async def take_body(request: web.BaseRequest, record: RequestRecord) -> None:
    """Take the request body in, keeping its length and hash only."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    digest = hashlib.sha256()
    if request.body_exists:
        async for chunk in request.content.iter_any():
            digest.update(chunk)
            record.body_length += len(chunk)
    record.body_sha256 = digest.hexdigest()
