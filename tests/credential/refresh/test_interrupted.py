"""The seven cases of an interrupted refresh, as a table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bearerd.credential.refresh.interrupted import Case, classify
from bearerd.credential.store.journal_entry import JournalEntry, Presenter
from bearerd.credential.token import Credential
from tests.credential.stand_ins import HOUR, START, credential_for

DEAD = Presenter(pid=1, host="gone")
BASE, SUCCESSOR, NEXT = (
    credential_for("base"),
    credential_for("successor"),
    credential_for("next"),
)
FOREIGN = credential_for("foreign", account="acct-2", user="user-2")
NAMELESS = credential_for("base", account=None, user=None)


def entry(
    stored: Credential,
    *,
    spending: Credential | None = None,
    renewed: Credential | None = None,
) -> JournalEntry:
    """Return a record over *stored*."""
    name = spending.fingerprint if spending else None
    return JournalEntry(stored.fingerprint, name, START, DEAD, renewed)


def with_same_refresh_token(seconds: float) -> Credential:
    """Return the base with another access token, which ends that much later."""
    return replace(BASE, access_token="other", expires_at=START + 24 * HOUR + seconds)


PRESENTED = entry(BASE, spending=BASE)
RESPONSE = entry(BASE, renewed=SUCCESSOR)
PRESENTED_UNSAVED = entry(BASE, spending=SUCCESSOR, renewed=SUCCESSOR)


@pytest.mark.parametrize(
    ("stored", "entries", "spent_here", "spent_elsewhere", "case"),
    [
        # The store holds what the record began from.
        (BASE, [PRESENTED], "", "", Case.MAYBE_SPENT),
        (BASE, [PRESENTED], "", "base", Case.MAYBE_SPENT),
        (BASE, [PRESENTED], "base", "", Case.CONTINUED_LOCALLY),
        (BASE, [RESPONSE], "", "", Case.SUCCESSOR_FOUND),
        (BASE, [RESPONSE], "", "base", Case.SUCCESSOR_FOUND),
        (BASE, [RESPONSE], "", "successor", Case.SUCCESSOR_FOUND),
        (BASE, [RESPONSE], "successor", "", Case.CONTINUED_LOCALLY),
        (BASE, [PRESENTED_UNSAVED], "", "", Case.SUCCESSOR_FOUND),
        (BASE, [PRESENTED_UNSAVED], "successor", "", Case.CONTINUED_LOCALLY),
        (BASE, [RESPONSE, PRESENTED], "", "", Case.SUCCESSOR_FOUND),
        (BASE, [entry(NEXT, renewed=FOREIGN), RESPONSE], "", "", Case.SUCCESSOR_FOUND),
        (BASE, [entry(BASE, renewed=FOREIGN)], "", "", Case.FOREIGN_GRANT),
        (NAMELESS, [entry(BASE, renewed=FOREIGN)], "", "", Case.SUCCESSOR_FOUND),
        # An authority that does not rotate: the access token that lasts longer.
        (
            BASE,
            [entry(BASE, renewed=with_same_refresh_token(60))],
            "",
            "",
            Case.SUCCESSOR_FOUND,
        ),
        (
            BASE,
            [entry(BASE, renewed=with_same_refresh_token(-60))],
            "",
            "",
            Case.SUPERSEDED,
        ),
        # A record of no token that is known.
        (BASE, [entry(BASE)], "", "", Case.SUPERSEDED),
        (BASE, [entry(BASE, spending=NEXT)], "", "", Case.SUPERSEDED),
        # The store holds something else.
        (NEXT, [PRESENTED], "", "", Case.SUPERSEDED),
        (NEXT, [RESPONSE], "", "", Case.SUPERSEDED),
        (SUCCESSOR, [RESPONSE], "", "", Case.SUPERSEDED),
        (FOREIGN, [RESPONSE], "", "", Case.WAITING),
        (FOREIGN, [PRESENTED], "", "", Case.SUPERSEDED),
        (FOREIGN, [PRESENTED, RESPONSE], "", "", Case.WAITING),
        # The store was set back to a login that is known to be spent.
        (NEXT, [RESPONSE], "", "next", Case.SUCCESSOR_FOUND),
        (NEXT, [RESPONSE], "next", "", Case.SUCCESSOR_FOUND),
        (NEXT, [RESPONSE], "", "next successor", Case.SUPERSEDED),
        (NEXT, [PRESENTED], "", "next", Case.SUPERSEDED),
    ],
)
def test_each_state_of_the_four_places_is_one_case(
    stored: Credential,
    entries: list[JournalEntry],
    spent_here: str,
    spent_elsewhere: str,
    case: Case,
) -> None:
    """Store, journal with the spool's response in it, and memory."""
    here = {credential_for(name).fingerprint for name in spent_here.split()}
    anywhere = here | {
        credential_for(name).fingerprint for name in spent_elsewhere.split()
    }

    def is_spent_locally(token: Credential | str | None) -> bool:
        name = token.fingerprint if isinstance(token, Credential) else token
        return name in here

    found = classify(
        stored,
        entries,
        is_spent_locally=is_spent_locally,
        is_spent=lambda credential: credential.fingerprint in anywhere,
    )
    assert found.case is case
    if case in {Case.SUCCESSOR_FOUND, Case.WAITING, Case.FOREIGN_GRANT}:
        assert found.entry is not None
        assert found.entry.renewed is not None
        assert found.stored == stored
