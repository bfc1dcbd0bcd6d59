"""Families of tokens: rotation, second uses, and how tokens end."""

from collections.abc import Callable

import pytest

from bearerd.sandbox import Account, TokenRegistry
from bearerd.sandbox.authority.family import Reuse
from bearerd.sandbox.authority.grant import AUTH_CLAIM, TokenError
from bearerd.sandbox.authority.jwt import read_claims

ACCOUNT = Account("acct-1")


class Clock:
    """Time that moves when a test sets it."""

    seconds = 1_000_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    """The registry's clock."""
    return Clock()


@pytest.fixture
def registry(clock: Clock) -> TokenRegistry:
    """An empty registry in the strict mode."""
    return TokenRegistry(now=clock)


def error_code(call: Callable[[], object]) -> str:
    """Return the code of the error that a call raises."""
    with pytest.raises(TokenError) as raised:
        call()
    return raised.value.code


def test_a_rotation_gives_a_new_pair_and_leaves_the_old_access_token_good(
    registry: TokenRegistry,
) -> None:
    """As at the real authority: an older access token is good until it expires."""
    first = registry.sign_in(ACCOUNT)
    second = registry.rotate(first.refresh_token)
    assert second.refresh_token != first.refresh_token
    assert second.access_token != first.access_token
    assert registry.introspect(first.access_token) == ("live", ACCOUNT)
    assert registry.introspect(second.access_token) == ("live", ACCOUNT)
    assert (registry.refreshes, registry.reused) == (1, 0)


def test_tokens_carry_the_claims_that_clients_read(registry: TokenRegistry) -> None:
    """The access token has expiry and account, the id token the e-mail address."""
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


def test_a_second_use_revokes_the_family(registry: TokenRegistry) -> None:
    """Refresh and access tokens, old and new; another family is untouched."""
    first, other = registry.sign_in(ACCOUNT), registry.sign_in(ACCOUNT)
    second = registry.rotate(first.refresh_token)
    assert (
        error_code(lambda: registry.rotate(first.refresh_token))
        == "refresh_token_reused"
    )
    assert (
        error_code(lambda: registry.rotate(second.refresh_token))
        == "refresh_token_invalidated"
    )
    assert registry.introspect(first.access_token).state == "invalidated"
    assert registry.introspect(second.access_token).state == "invalidated"
    assert registry.introspect(other.access_token).state == "live"
    assert registry.rotate(other.refresh_token).account == ACCOUNT
    assert (registry.refreshes, registry.reused) == (2, 1)


def test_the_lenient_mode_refuses_a_second_use_and_spares_the_family(
    clock: Clock,
) -> None:
    """As a server without reuse detection does."""
    registry = TokenRegistry(now=clock, reuse="refuse")
    first = registry.sign_in(ACCOUNT)
    second = registry.rotate(first.refresh_token)
    assert (
        error_code(lambda: registry.rotate(first.refresh_token))
        == "refresh_token_reused"
    )
    assert registry.introspect(second.access_token).state == "live"
    assert registry.rotate(second.refresh_token).account == ACCOUNT
    assert registry.reused == 1


def test_the_tolerant_mode_accepts_one_repeat(registry: TokenRegistry) -> None:
    """A client that lost the response gets the same successor once more, not twice."""
    registry.set_reuse("tolerate_one")
    first = registry.sign_in(ACCOUNT)
    second = registry.rotate(first.refresh_token)
    again = registry.rotate(first.refresh_token)
    assert again.refresh_token == second.refresh_token
    assert again.access_token != second.access_token
    assert (registry.refreshes, registry.tolerated, registry.reused) == (1, 1, 0)
    assert (
        error_code(lambda: registry.rotate(first.refresh_token))
        == "refresh_token_reused"
    )
    assert registry.rotate(second.refresh_token).account == ACCOUNT


def test_the_tolerant_mode_refuses_once_the_successor_is_used(
    registry: TokenRegistry,
) -> None:
    """Only the token that was spent last is tolerated."""
    registry.set_reuse("tolerate_one")
    first = registry.sign_in(ACCOUNT)
    registry.rotate(registry.rotate(first.refresh_token).refresh_token)
    assert (
        error_code(lambda: registry.rotate(first.refresh_token))
        == "refresh_token_reused"
    )


def test_the_tolerant_mode_refuses_in_a_family_that_ended(
    registry: TokenRegistry,
) -> None:
    """A sign-out is not undone by a repeat."""
    registry.set_reuse("tolerate_one")
    first = registry.sign_in(ACCOUNT)
    registry.rotate(first.refresh_token)
    registry.revoke_refresh_tokens()
    assert (
        error_code(lambda: registry.rotate(first.refresh_token))
        == "refresh_token_reused"
    )


def test_a_repeat_within_the_grace_period_gets_the_same_successor(
    registry: TokenRegistry, clock: Clock
) -> None:
    """As often as it comes; after the period it revokes the family."""
    registry.set_reuse("grace_period", grace_seconds=10)
    first = registry.sign_in(ACCOUNT)
    second = registry.rotate(first.refresh_token)
    clock.seconds += 10
    for _ in range(2):
        again = registry.rotate(first.refresh_token)
        assert again.refresh_token == second.refresh_token
    assert (registry.refreshes, registry.tolerated, registry.reused) == (1, 2, 0)
    clock.seconds += 1
    assert (
        error_code(lambda: registry.rotate(first.refresh_token))
        == "refresh_token_reused"
    )
    assert registry.introspect(second.access_token).state == "invalidated"


def test_a_cached_grant_has_the_access_token_that_was_issued_last(
    registry: TokenRegistry, clock: Clock
) -> None:
    """With its old `iat`, in any state; the refresh token is new."""
    first = registry.sign_in(ACCOUNT)
    clock.seconds += 100
    registry.revoke_access_tokens()
    cached = registry.rotate(first.refresh_token, is_cached=True)
    assert cached.access_token == first.access_token
    assert cached.refresh_token != first.refresh_token
    assert registry.introspect(cached.access_token).state == "invalidated"
    assert registry.rotate(cached.refresh_token).access_token != first.access_token


def test_a_token_can_be_issued_in_the_past(registry: TokenRegistry) -> None:
    """`iat` and `exp` lie back by as much, at a sign-in and at a rotation."""
    lifetime = registry.access_lifetime_seconds
    first = registry.sign_in(ACCOUNT, issued_seconds_ago=50)
    second = registry.rotate(first.refresh_token, issued_seconds_ago=lifetime)
    for grant, iat in ((first, 999_950), (second, 1_000_000 - lifetime)):
        claims = read_claims(grant.access_token)
        assert (claims["iat"], claims["exp"]) == (iat, iat + lifetime)
    assert registry.introspect(second.access_token).state == "expired"


def test_an_access_token_can_be_renewed_without_rotation(
    registry: TokenRegistry,
) -> None:
    """The refresh token stays live; a spent one is refused as ever."""
    first = registry.sign_in(ACCOUNT)
    renewed = registry.renew_access_token(first.refresh_token)
    assert renewed.refresh_token == first.refresh_token
    assert renewed.access_token != first.access_token
    registry.rotate(first.refresh_token)
    assert (
        error_code(lambda: registry.renew_access_token(first.refresh_token))
        == "refresh_token_reused"
    )
    assert (
        error_code(lambda: registry.renew_access_token("never-issued"))
        == "invalid_grant"
    )


def test_a_family_can_end_with_a_code(registry: TokenRegistry) -> None:
    """The first code stays; a token that is unknown ends nothing."""
    grant = registry.sign_in(ACCOUNT)
    registry.end_family(grant.refresh_token, "refresh_token_expired")
    registry.end_family(grant.refresh_token, "invalid_grant")
    registry.end_family("never-issued", "invalid_grant")
    assert (
        error_code(lambda: registry.rotate(grant.refresh_token))
        == "refresh_token_expired"
    )
    assert registry.introspect(grant.access_token).state == "live"


def test_an_alias_is_accepted_as_the_token_is(registry: TokenRegistry) -> None:
    """A token that was handed out in another form is accepted in that form."""
    grant = registry.sign_in(ACCOUNT)
    registry.add_alias(grant.access_token, "access-alias")
    registry.add_alias(grant.refresh_token, "refresh-alias")
    assert registry.introspect("access-alias") == ("live", ACCOUNT)
    assert registry.rotate("refresh-alias").account == ACCOUNT
    assert (
        error_code(lambda: registry.rotate(grant.refresh_token))
        == "refresh_token_reused"
    )


def test_another_server_judges_expiry_by_its_own_clock(
    registry: TokenRegistry,
) -> None:
    """A server that is ahead calls a token expired that its issuer calls live."""
    grant = registry.sign_in(ACCOUNT)
    ahead = grant.expires_at + 1
    assert registry.introspect(grant.access_token, now=ahead).state == "expired"
    assert registry.introspect(grant.access_token).state == "live"


def test_an_unknown_mode_is_refused_by_name(registry: TokenRegistry) -> None:
    """The message has the modes."""
    wrong: Reuse = "maybe"  # type: ignore[assignment]
    with pytest.raises(
        ValueError, match="revoke_family, refuse, tolerate_one, grace_period"
    ):
        registry.set_reuse(wrong)


def test_an_access_token_expires_by_the_clock(
    registry: TokenRegistry, clock: Clock
) -> None:
    """At the second of its `exp`; a new lifetime holds for later tokens."""
    grant = registry.sign_in(ACCOUNT)
    clock.seconds = grant.expires_at - 1
    assert registry.introspect(grant.access_token).state == "live"
    clock.seconds = grant.expires_at
    assert registry.introspect(grant.access_token).state == "expired"
    registry.access_lifetime_seconds = 5
    assert registry.sign_in(ACCOUNT).expires_at == grant.expires_at + 5


def test_access_tokens_end_by_account_or_all(registry: TokenRegistry) -> None:
    """An ended token stays ended, and is counted once."""
    one, two = registry.sign_in(ACCOUNT), registry.sign_in(Account("acct-2"))
    assert registry.revoke_access_tokens("acct-2") == 1
    assert registry.introspect(two.access_token).state == "invalidated"
    assert registry.expire_access_tokens() == 1
    assert registry.introspect(one.access_token).state == "expired"
    assert registry.introspect(two.access_token).state == "invalidated"
    assert registry.introspect("never-issued") == ("unknown", None)


def test_families_end_by_age_or_by_revocation(registry: TokenRegistry) -> None:
    """Each with its code; the access token stays live."""
    one, two = registry.sign_in(ACCOUNT), registry.sign_in(Account("acct-2"))
    assert registry.expire_refresh_tokens("acct-1") == 1
    assert registry.revoke_refresh_tokens() == 1
    assert (
        error_code(lambda: registry.rotate(one.refresh_token))
        == "refresh_token_expired"
    )
    assert (
        error_code(lambda: registry.rotate(two.refresh_token))
        == "refresh_token_invalidated"
    )
    assert error_code(lambda: registry.rotate("never-issued")) == "invalid_grant"
    assert registry.introspect(one.access_token).state == "live"


def test_either_token_revokes_its_family(registry: TokenRegistry) -> None:
    """RFC 7009: a sign-out ends the access tokens too."""
    one, two = registry.sign_in(ACCOUNT), registry.sign_in(ACCOUNT)
    assert registry.revoke(one.refresh_token)
    assert registry.revoke(two.access_token)
    assert not registry.revoke("never-issued")
    for grant in (one, two):
        assert registry.introspect(grant.access_token).state == "invalidated"


def test_a_grant_does_not_print_its_tokens(registry: TokenRegistry) -> None:
    """Code that prints made-up tokens would print real ones."""
    grant = registry.sign_in(ACCOUNT)
    shown = repr(grant)
    for secret in (grant.access_token, grant.refresh_token, grant.id_token):
        assert secret not in shown
