"""A refresh that did not complete, because its process died or the store failed. Pure.

The case follows from four sources: the store, the journal, the response spool and the
memory of this process. The base of a record is the credential that the store held when
the record was written.

| case | store | journal and spool | memory | action |
|---|---|---|---|---|
| 1 `NO_RECORD` | any | no record | any | none |
| 2a `SUPERSEDED` | another login than the base | a record | any | clear the record |
| 2b `SUPERSEDED` | the base | neither a newer successor nor the base's token | any | clear the record |
| 3 `CONTINUED_LOCALLY` | the base | a record | a newer credential | none |
| 4 `SUCCESSOR_FOUND` | the base | a successor | no newer one | store it |
| 5 `MAYBE_SPENT` | the base | a token, no response | no newer one | report it |
| 6 `WAITING` | another account's login | a successor | any | keep the record |
| 7 `FOREIGN_GRANT` | the base | a grant for another account | any | quarantine it |

Case 1 is that of the finder: without a record, the store is not even read.

Case 2a: another writer has replaced the base, by a login of the same account or without
a successor in the record. Case 2b: an authority that does not rotate issued an access
token that ends earlier than the stored one; or the record names an unknown token.

Case 4 also applies if the store was set back to a login that is known to be spent: then
any record is newer. Cases 4 and 5 can apply together: a successor could not be stored,
and its own token was presented later. The successor is stored first, and its token is
then reported as maybe spent.

Case 6: the file was replaced by another account's file during a refresh. The record
holds the only copy of the old login, whose file may be put back.

Case 7: the presented token is spent, and the grant belongs to another account. The grant
is never served and never deleted; `bearerd adopt` can install it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from bearerd.credential.store.journal_entry import JournalEntry
from bearerd.credential.store.state import Account
from bearerd.credential.token import Credential


class Case(Enum):
    """The cases of an interrupted refresh; see the module."""

    NO_RECORD = 1
    SUPERSEDED = 2
    CONTINUED_LOCALLY = 3
    SUCCESSOR_FOUND = 4
    MAYBE_SPENT = 5
    WAITING = 6
    FOREIGN_GRANT = 7


@dataclass(frozen=True, slots=True)
class InterruptedRefresh:
    """A case, with the stored credential and the journal record that it applies to."""

    case: Case
    stored: Credential | None = None
    entry: JournalEntry | None = None


def classify(
    stored: Credential,
    entries: Sequence[JournalEntry],
    *,
    is_spent_locally: Callable[[Credential | str | None], bool],
    is_spent: Callable[[Credential], bool],
) -> InterruptedRefresh:
    """Return the case of *entries*, the journal records with the spooled response.

    *entries* has at least one record. The first one on the stored credential counts.

    *is_spent_locally* returns True for a credential, or a fingerprint, that this process
    has spent. Only that leads to case 3: another process may have died since.
    *is_spent* returns True for a credential that any process is known to have spent.
    """
    based_on_stored = (each for each in entries if each.stored == stored.fingerprint)
    entry = next(based_on_stored, None)
    if entry is None:
        return _classify_other_base(stored, entries, is_spent)
    if is_spent_locally(entry.spending) or is_spent_locally(entry.renewed):
        case = Case.CONTINUED_LOCALLY  # 3
    elif entry.renewed is not None and not may_become(stored, entry.renewed):
        case = Case.FOREIGN_GRANT  # 7
    elif entry.renewed is not None and _is_newer(entry.renewed, stored):
        case = Case.SUCCESSOR_FOUND  # 4
    elif entry.spending == stored.fingerprint:
        case = Case.MAYBE_SPENT  # 5
    else:
        case = Case.SUPERSEDED  # 2b
    return InterruptedRefresh(case, stored, entry)


def _classify_other_base(
    stored: Credential,
    entries: Sequence[JournalEntry],
    is_spent: Callable[[Credential], bool],
) -> InterruptedRefresh:
    """Return the case of records whose base is not the stored credential.

    6 if a record holds the only copy of another account's login. 4 if the stored login is
    known to be spent, so the record is newer. Otherwise 2a.
    """
    for entry in entries:
        if entry.renewed is None:
            continue
        if not may_become(stored, entry.renewed):
            return InterruptedRefresh(Case.WAITING, stored, entry)  # 6
        if is_spent(stored) and not is_spent(entry.renewed):
            return InterruptedRefresh(Case.SUCCESSOR_FOUND, stored, entry)  # 4
    return InterruptedRefresh(Case.SUPERSEDED, stored)  # 2a


def may_become(stored: Credential, successor: Credential) -> bool:
    """Return True if a refresh of *stored* may name the account of *successor*."""
    return Account.from_credential(stored).accepts(Account.from_credential(successor))


def _is_newer(successor: Credential, stored: Credential) -> bool:
    """Return True if *successor*, a refresh of *stored*, is newer than *stored*.

    An authority that does not rotate returns the same refresh token. Then the access
    token that expires later is the newer one.
    """
    if successor.fingerprint != stored.fingerprint:
        return True
    return (successor.expires_at or 0) >= (stored.expires_at or 0)
