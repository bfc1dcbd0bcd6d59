"""docs/stability.md lists every name that users may rely on, and no other."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families

from bearerd.admin.event_format import EVENT_NAMES
from bearerd.admin.metrics import Metrics
from bearerd.admin.server import PATHS
from bearerd.admin.status import ServiceStatus, status_document
from bearerd.cli import COMMANDS
from bearerd.credential.status import SourceStatus
from bearerd.errors import BearerdError
from bearerd.events import (
    RecoveryFinished,
    RecoveryOutcome,
    RecoveryPath,
    RefreshFailed,
    RequestFinished,
)
from tests.docs.pages import ROOT, section

PAGE = ROOT / "docs" / "stability.md"

MARKS = {"refresh_throttled": "401", "replay_abandoned": "401"}
"""Codes that mark a response of the upstream, and are no errors of ours."""

COMMANDS_ONLY = {
    "configuration_error",
    "start_failed",
    "store_error",
    "sign_in_failed",
    "revocation_failed",
}
"""Codes that no client sees."""

CODE = re.compile(r"`([\w.]+)`")


def rows(heading: str) -> dict[str, list[str]]:
    """Return the table rows below *heading*: the first cell's code, and other cells."""
    lines = re.findall(r"^\|( `.+)\|$", section(PAGE, heading), re.MULTILINE)
    cells = [[cell.strip() for cell in line.split("|")] for line in lines]
    return {first.strip("`"): others for first, *others in cells}


def errors() -> Iterator[type[BearerdError]]:
    """Give the root, and every type that has a code of its own."""
    yield BearerdError
    pending = BearerdError.__subclasses__()
    while pending:
        kind = pending.pop()
        pending += kind.__subclasses__()
        if kind.code != BearerdError.code:
            yield kind


def test_every_error_code_is_listed_with_its_statuses() -> None:
    """Clients and alerts select by the code, and retry by the status."""
    expected = {code: {status} for code, status in MARKS.items()}
    for kind in errors():
        if kind.code not in COMMANDS_ONLY:
            status = str(kind.status.value)
            expected.setdefault(kind.code, set()).add(status)
    table = rows("## Response fields and error codes")
    listed = {code: set(cells[0].split(", ")) for code, cells in table.items()}
    assert listed == expected


def test_every_metric_is_listed_with_its_type_and_labels() -> None:
    """Dashboards and alerts are written against them."""
    metrics = Metrics(
        streams_active=lambda: 0,
        refresh_waiters=lambda: 0,
        sources=lambda: [
            SourceStatus(
                profile="default",
                store="auth.json",
                state="usable",
                since=1.0,
                code=None,
                reason=None,
                message=None,
                needs_person=False,
                needs_sign_in=False,
                retry_at=None,
                account_id=None,
                generation=1,
                expires_at=1.0,
                refresh_at=None,
                last_refreshed_at=None,
                in_memory_only=False,
                last_error=None,
            )
        ],
    )
    metrics(RequestFinished("c", "p", "GET", "/", 503, 1, "overloaded", 0.1, 0.1))
    path, outcome = RecoveryPath.RELOAD, RecoveryOutcome.RECOVERED
    metrics(RecoveryFinished("p", path, outcome, 1, 0.1))
    metrics(RefreshFailed("p", "asked", "unclear", "timeout", 1, 0.1))
    published = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        total = "_total" if family.type == "counter" else ""
        labels = {label for one in family.samples for label in one.labels} - {"le"}
        published[family.name + total] = (family.type, labels)
    listed = {
        name: (kind, set(CODE.findall(labels)))
        for name, (kind, labels) in rows("## Metrics").items()
    }
    assert listed == published


def test_every_event_is_listed() -> None:
    """The log and the event stream are read by their names."""
    assert set(rows("## Events")) == set(EVENT_NAMES.values())


def test_every_command_is_listed() -> None:
    """Scripts call them."""
    assert set(rows("## Commands")) == set(COMMANDS)


def test_every_path_and_key_of_the_admin_listener_is_listed() -> None:
    """Probes ask the paths; dashboards read the keys."""
    text = section(PAGE, "## Admin listener")
    paths = re.findall(r"`(/[\w/]*)`", text.partition("Paths: ")[2].partition(".")[0])
    assert paths == list(PATHS)
    status = ServiceStatus("0", 0.0, is_draining=False, relay=(), admin=(), sources=(),
                           requests_in_flight=0, streams_active=0)  # fmt: skip
    daemon, profile = re.findall(r"^\| (?:the daemon|each of `profiles`) \| (.+) \|$",
                                 text, re.MULTILINE)  # fmt: skip
    assert set(CODE.findall(daemon)) == set(status_document(status))
    fields = {field.name for field in dataclasses.fields(SourceStatus)}
    assert set(CODE.findall(profile)) == fields
