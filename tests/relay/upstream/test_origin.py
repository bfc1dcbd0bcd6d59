"""What an upstream's URL says: scheme, host, port, base path and Host."""

from __future__ import annotations

import pytest

from bearerd.relay.upstream.origin import Origin


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "https://up.example/backend-api",
            Origin(True, "up.example", 443, b"/backend-api", b"up.example"),
        ),
        (
            "https://up.example:8443/a/",
            Origin(True, "up.example", 8443, b"/a", b"up.example:8443"),
        ),
        ("http://[::1]:80", Origin(False, "::1", 80, b"", b"[::1]:80")),
        ("http://127.0.0.1", Origin(False, "127.0.0.1", 80, b"", b"127.0.0.1")),
    ],
)
def test_an_origin_is_what_its_url_names(url: str, expected: Origin) -> None:
    """The base path has no slash at its end; Host names the port where the URL does."""
    assert Origin.from_url(url) == expected
