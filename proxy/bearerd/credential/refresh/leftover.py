"""What a process that died in a refresh, or a store that failed, has left. Pure.

Four places are compared: the store, the journal, the spool and this process's memory.

| case | store | journal and spool | memory | action |
|---|---|---|---|---|
| 1 `NOTHING_OPEN` | any | no record | any | none |
| 2 `SUPERSEDED` | a newer login | any record | any | clear the record |
| 3 `CONTINUED_HERE` | what it began from | a record | has gone on from it | none |
| 4 `SUCCESSOR_FOUND` | what it began from | a successor | not beyond it | store it |
| 5 `MAYBE_SPENT` | what it began from | a token, no response | not beyond it | report it |
| 6 `WAITING` | another account's login | a successor | any | keep the record |
| 7 `FOREIGN_GRANT` | what it began from | a grant for another account | any | quarantine |

Case 4 is also that of a store that went back to a login which is known to be spent: the
record comes after it, whatever it began from. Case 4 can be case 5 too: a successor that
could not be stored was presented in its turn. It is stored first; then its own token is
reported as maybe spent.

Case 6: another account's file replaced the store's while a refresh was under way. The
record holds the only copy of the old login, whose file may be put back.

Case 7: the presented token is spent, and what came for it belongs to another account. It
is never served and never destroyed; `bearerd adopt` can take it up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from bearerd.credential.store.journal import JournalEntry
from bearerd.credential.store.state import Account
from bearerd.credential.token import Credential


class Case(Enum):
    """What a process that died, or a store that failed, has left; see the module."""

    NOTHING_OPEN = 1
    SUPERSEDED = 2
    CONTINUED_HERE = 3
    SUCCESSOR_FOUND = 4
    MAYBE_SPENT = 5
    WAITING = 6
    FOREIGN_GRANT = 7


@dataclass(frozen=True, slots=True)
class Leftover:
    """The case, with the record and the store's credential that it is about."""

    case: Case
    stored: Credential | None = None
    entry: JournalEntry | None = None


def classify(
    stored: Credential,
    entries: Sequence[JournalEntry],
    *,
    is_spent: Callable[[Credential | str | None], bool],
    is_rotated: Callable[[Credential], bool],
) -> Leftover:
    """Return the case of *entries*, the records, which have the spool's response in them.

    *is_spent* tells whether this process itself rotated a credential, or a fingerprint,
    away. That another process did is no reason for case 3: it may have died since.
    *is_rotated* tells whether any process is known to have done so.
    """
    if not entries:
        return Leftover(Case.NOTHING_OPEN, stored)
    own = (one for one in entries if one.stored == stored.fingerprint)
    entry = next(own, None)
    if entry is None:
        return _without_base(stored, entries, is_rotated)
    if is_spent(entry.spending) or is_spent(entry.renewed):
        case = Case.CONTINUED_HERE
    elif entry.renewed is not None and not may_become(stored, entry.renewed):
        case = Case.FOREIGN_GRANT
    elif entry.renewed is not None and _is_newer(entry.renewed, stored):
        case = Case.SUCCESSOR_FOUND
    elif entry.spending == stored.fingerprint:
        case = Case.MAYBE_SPENT
    else:
        case = Case.SUPERSEDED
    return Leftover(case, stored, entry)


def _without_base(
    stored: Credential,
    entries: Sequence[JournalEntry],
    is_rotated: Callable[[Credential], bool],
) -> Leftover:
    """Return the case of records that did not begin from what is stored.

    6 if one has the only copy of another account's login. 4 if the store went back to a
    login that is known to be spent: what a record has comes after it. Else 2.
    """
    for entry in entries:
        if entry.renewed is None:
            continue
        if not may_become(stored, entry.renewed):
            return Leftover(Case.WAITING, stored, entry)
        if is_rotated(stored) and not is_rotated(entry.renewed):
            return Leftover(Case.SUCCESSOR_FOUND, stored, entry)
    return Leftover(Case.SUPERSEDED, stored)


def may_become(stored: Credential, successor: Credential) -> bool:
    """Return True if a refresh of *stored* may name the account of *successor*."""
    return Account.of(stored).accepts(Account.of(successor))


def _is_newer(successor: Credential, stored: Credential) -> bool:
    """Return True if *successor* may replace *stored*, from which it was made.

    An authority that does not rotate leaves the refresh token as it was; then the
    access token that lasts longer is the newer.
    """
    if successor.fingerprint != stored.fingerprint:
        return True
    return (successor.expires_at or 0) >= (stored.expires_at or 0)
