"""The status as JSON, and back from the JSON of any version."""

from __future__ import annotations

import json

from bearerd.admin.status import parse_status, source_document, status_document
from tests.admin.conftest import degraded, missing, service, source


def test_the_document_has_the_public_names() -> None:
    """Other programs read it: the daemon's values, and those of each profile."""
    document = status_document(service(source(), missing(profile="work")))
    assert set(document) == {
        "version",
        "started_at",
        "draining",
        "relay",
        "admin",
        "profiles",
        "requests_in_flight",
        "streams_active",
    }
    first, second = json.loads(json.dumps(document))["profiles"]
    assert (first["profile"], first["state"]) == ("default", "usable")
    assert (second["profile"], second["reason"]) == ("work", "missing")


def test_a_profile_has_the_public_names() -> None:
    """They are the names of its fields."""
    assert set(source_document(source())) == {
        "profile",
        "store",
        "state",
        "since",
        "code",
        "reason",
        "message",
        "needs_person",
        "needs_sign_in",
        "retry_at",
        "account_id",
        "generation",
        "expires_at",
        "refresh_at",
        "last_refreshed_at",
        "in_memory_only",
        "last_error",
    }


def test_a_status_survives_the_way_through_json() -> None:
    """So that `bearerd status` shows what the status page shows."""
    status = service(source(), missing(profile="work"), is_draining=True)
    assert parse_status(json.loads(json.dumps(status_document(status)))) == status


def test_a_document_of_another_version_is_read_as_far_as_it_is_known() -> None:
    """Unknown names are left out, and missing ones are empty."""
    document = {"version": "9.9", "future": 1, "profiles": [{"profile": "x", "new": 1}]}
    status = parse_status(document)
    assert status.version == "9.9"
    assert status.relay == ()
    (profile,) = status.sources
    assert (profile.profile, profile.account_id) == ("x", None)


def test_a_status_needs_a_person_if_one_profile_does() -> None:
    """A token that cannot be refreshed any more is reason enough."""
    assert not service().needs_person
    assert service(source(), missing(profile="work")).needs_person
    dying = degraded(code="login_required", reason="reused", needs_person=True)
    assert service(dying).needs_person
    assert not service(degraded()).needs_person
