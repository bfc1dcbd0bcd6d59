"""`bearerd demo`: its output and its exit code. `tests/harness` has the demo itself."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support import call_command


def test_the_numbers_can_be_printed_as_json(tmp_path: Path) -> None:
    """Progress is on stderr, so that stdout is one JSON document."""
    done = call_command(tmp_path, "demo", "--agents", "2", "--requests", "1", "--json")
    assert done.code == 0
    document = json.loads(done.stdout)
    assert document["ok"] is True
    assert document["without"]["reused"] == 1
    assert document["through"] == {
        "answered": 2,
        "failed": 0,
        "refreshes": 1,
        "reused": 0,
        "sign_ins": 0,
    }
    assert "agent 2 is signed out: refresh_token_reused" in done.stderr
