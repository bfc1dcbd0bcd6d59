"""The tree of errors: what each type promises, and that each is raised."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus

import pytest

from bearerd.credential.authority.errors import RevocationFailed, SignInFailed
from bearerd.errors import BearerdError, CredentialError, ExitCode
from tests.support.source_code import names_called


def errors(root: type[BearerdError]) -> Iterator[type[BearerdError]]:
    """Give every type below *root* that has a code of its own, or no type below it."""
    for kind in root.__subclasses__():
        if not kind.__subclasses__() or kind.code != BearerdError.code:
            yield kind
        yield from errors(kind)


def test_every_error_is_raised_somewhere() -> None:
    """A code that no response has would be documented for nothing."""
    made = names_called()
    assert {RevocationFailed, SignInFailed} <= set(errors(BearerdError))
    assert [kind for kind in errors(BearerdError) if kind.__name__ not in made] == []


@pytest.mark.parametrize("kind", list(errors(CredentialError)))
def test_what_only_a_sign_in_ends_is_a_401_and_never_a_503(
    kind: type[BearerdError],
) -> None:
    """Clients retry a 503 for minutes; no retry ends such a state."""
    needs_sign_in = kind.exit_code is ExitCode.SIGN_IN_NEEDED
    assert needs_sign_in == (kind.status is HTTPStatus.UNAUTHORIZED)
