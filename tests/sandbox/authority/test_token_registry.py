"""Families of tokens: rotation, double spends, and how tokens end."""

from collections.abc import Callable

import pytest

from bearerd.sandbox import Account, TokenRegistry
from bearerd.sandbox.authority.grant import AUTH_CLAIM, RefusedError
from bearerd.sandbox.authority.jwt import read_claims
from bearerd.sandbox.authority.token_registry import Reuse

ACCOUNT = Account("acct-1")


class Clock:
    """Time that moves when a test says so."""

    seconds = 1_000_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    """The ledger's clock."""
    return Clock()


@pytest.fixture
def registry(clock: Clock) -> TokenRegistry:
    """An empty ledger in the strict mode."""
    return TokenRegistry(now=clock)


def refusal(call: Callable[[], object]) -> str:
    """Return the code that a call is refused with."""
    with pytest.raises(RefusedError) as refused:
        call()
    return refused.value.code


def test_a_rotation_gives_a_new_pair_and_leaves_the_old_access_token_good(
    registry: TokenRegistry,
) -> None:
    """As the real authority does: what is out there goes on until it expires."""
    first = registry.sign_in(ACCOUNT)
    second = registry.rotate(first.refresh_token)
    assert second.refresh_token != first.refresh_token
    assert second.access_token != first.access_token
    assert registry.introspect(first.access_token) == ("live", ACCOUNT)
    assert registry.introspect(second.access_token) == ("live", ACCOUNT)
    assert (registry.refreshes, registry.reused) == (1, 0)


def test_tokens_carry_the_claims_that_clients_read(registry: TokenRegistry) -> None:
    """Expiry and account in the access token; the address in the id token."""
    grant = registry.sign_in(ACCOUNT)
    access, identity = read_claims(grant.access_token), read_claims(grant.id_token)
    assert access["iat"] == 1_000_000
    assert access["exp"] == grant.expires_at == 1_000_000 + 10 * 24 * 3600
    assert access["jti"] != read_claims(registry.sign_in(ACCOUNT).access_token)["jti"]
    expected = {
        "chatgpt_account_id": "acct-1",
        "chatgpt_plan_type": "plus",
        "chatgpt_user_id": "user-acct-1",
    }
    assert access[AUTH_CLAIM] == identity[AUTH_CLAIM] == expected
    assert identity["email"] == "sandbox@localhost"


def test_a_double_spend_kills_the_family(registry: TokenRegistry) -> None:
    """Refresh and access tokens, old and new; another family goes on."""
    first, other = registry.sign_in(ACCOUNT), registry.sign_in(ACCOUNT)
    second = registry.rotate(first.refresh_token)
    assert (
        refusal(lambda: registry.rotate(first.refresh_token)) == "refresh_token_reused"
    )
    assert (
        refusal(lambda: registry.rotate(second.refresh_token))
        == "refresh_token_invalidated"
    )
    assert registry.introspect(first.access_token).state == "invalidated"
    assert registry.introspect(second.access_token).state == "invalidated"
    assert registry.introspect(other.access_token).state == "live"
    assert registry.rotate(other.refresh_token).account == ACCOUNT
    assert (registry.refreshes, registry.reused) == (2, 1)


def test_the_lenient_mode_refuses_a_double_spend_and_spares_the_family(
    clock: Clock,
) -> None:
    """What a service without reuse detection does."""
    registry = TokenRegistry(now=clock, reuse="refuse")
    first = registry.sign_in(ACCOUNT)
    second = registry.rotate(first.refresh_token)
    assert (
        refusal(lambda: registry.rotate(first.refresh_token)) == "refresh_token_reused"
    )
    assert registry.introspect(second.access_token).state == "live"
    assert registry.rotate(second.refresh_token).account == ACCOUNT
    assert registry.reused == 1


def test_the_tolerant_mode_lets_one_repeat_pass(registry: TokenRegistry) -> None:
    """A client that lost the response gets the same successor once more, not twice."""
    registry.set_reuse("tolerate_one")
    first = registry.sign_in(ACCOUNT)
    second = registry.rotate(first.refresh_token)
    again = registry.rotate(first.refresh_token)
    assert again.refresh_token == second.refresh_token
    assert again.access_token != second.access_token
    assert (registry.refreshes, registry.tolerated, registry.reused) == (1, 1, 0)
    assert (
        refusal(lambda: registry.rotate(first.refresh_token)) == "refresh_token_reused"
    )
    assert registry.rotate(second.refresh_token).account == ACCOUNT


def test_the_tolerant_mode_refuses_once_the_successor_is_used(
    registry: TokenRegistry,
) -> None:
    """Only the most recently superseded token is let pass."""
    registry.set_reuse("tolerate_one")
    first = registry.sign_in(ACCOUNT)
    registry.rotate(registry.rotate(first.refresh_token).refresh_token)
    assert (
        refusal(lambda: registry.rotate(first.refresh_token)) == "refresh_token_reused"
    )


def test_the_tolerant_mode_refuses_in_a_family_that_ended(
    registry: TokenRegistry,
) -> None:
    """Signed out is signed out."""
    registry.set_reuse("tolerate_one")
    first = registry.sign_in(ACCOUNT)
    registry.rotate(first.refresh_token)
    registry.revoke_refresh_tokens()
    assert (
        refusal(lambda: registry.rotate(first.refresh_token)) == "refresh_token_reused"
    )


def test_an_unknown_mode_is_refused_by_name(registry: TokenRegistry) -> None:
    """The choices are in the message."""
    wrong: Reuse = "maybe"  # type: ignore[assignment]
    with pytest.raises(ValueError, match="revoke_family, refuse, tolerate_one"):
        registry.set_reuse(wrong)


def test_an_access_token_expires_by_the_clock(
    registry: TokenRegistry, clock: Clock
) -> None:
    """At the second of its `exp`; a lifetime set later holds for later tokens."""
    grant = registry.sign_in(ACCOUNT)
    clock.seconds = grant.expires_at - 1
    assert registry.introspect(grant.access_token).state == "live"
    clock.seconds = grant.expires_at
    assert registry.introspect(grant.access_token).state == "expired"
    registry.access_lifetime_seconds = 5
    assert registry.sign_in(ACCOUNT).expires_at == grant.expires_at + 5


def test_access_tokens_are_ended_by_account_or_all(registry: TokenRegistry) -> None:
    """What is ended stays ended, and is counted once."""
    one, two = registry.sign_in(ACCOUNT), registry.sign_in(Account("acct-2"))
    assert registry.revoke_access_tokens("acct-2") == 1
    assert registry.introspect(two.access_token).state == "invalidated"
    assert registry.expire_access_tokens() == 1
    assert registry.introspect(one.access_token).state == "expired"
    assert registry.introspect(two.access_token).state == "invalidated"
    assert registry.introspect("never-issued") == ("unknown", None)


def test_families_end_by_age_or_by_revocation(registry: TokenRegistry) -> None:
    """Each with its code; the access token goes on."""
    one, two = registry.sign_in(ACCOUNT), registry.sign_in(Account("acct-2"))
    assert registry.expire_refresh_tokens("acct-1") == 1
    assert registry.revoke_refresh_tokens() == 1
    assert (
        refusal(lambda: registry.rotate(one.refresh_token)) == "refresh_token_expired"
    )
    assert (
        refusal(lambda: registry.rotate(two.refresh_token))
        == "refresh_token_invalidated"
    )
    assert refusal(lambda: registry.rotate("never-issued")) == "invalid_grant"
    assert registry.introspect(one.access_token).state == "live"


def test_either_token_revokes_its_family(registry: TokenRegistry) -> None:
    """RFC 7009: a sign-out takes the access tokens along."""
    one, two = registry.sign_in(ACCOUNT), registry.sign_in(ACCOUNT)
    assert registry.revoke(one.refresh_token)
    assert registry.revoke(two.access_token)
    assert not registry.revoke("never-issued")
    for grant in (one, two):
        assert registry.introspect(grant.access_token).state == "invalidated"


def test_a_grant_does_not_print_its_tokens(registry: TokenRegistry) -> None:
    """Made up or not: what prints one prints the other."""
    grant = registry.sign_in(ACCOUNT)
    shown = repr(grant)
    for secret in (grant.access_token, grant.refresh_token, grant.id_token):
        assert secret not in shown
