"""Signing in by browser and by device code."""

import aiohttp
import pytest
from yarl import URL

from bearerd.sandbox import CODEX_CLIENT_ID, Account, AuthorityFault, Sandbox
from bearerd.sandbox.authority.grant import AUTH_CLAIM
from bearerd.sandbox.authority.jwt import read_claims
from bearerd.sandbox.authority.sign_in import s256_challenge

VERIFIER = "v" * 43
CALLBACK = "http://localhost:1455/auth/callback"
AUTHORIZE = {
    "response_type": "code",
    "client_id": CODEX_CLIENT_ID,
    "redirect_uri": CALLBACK,
    "code_challenge": s256_challenge(VERIFIER),
    "code_challenge_method": "S256",
    "state": "some-state",
}
EXCHANGE = {
    "grant_type": "authorization_code",
    "client_id": CODEX_CLIENT_ID,
    "redirect_uri": CALLBACK,
    "code_verifier": VERIFIER,
}


async def authorize(
    sandbox: Sandbox, http: aiohttp.ClientSession, **changed: str
) -> tuple[int, URL]:
    """Open the sign-in page; return the status and the address it redirects to."""
    url = URL(f"{sandbox.issuer_url}/oauth/authorize").with_query(AUTHORIZE | changed)
    async with http.get(url, allow_redirects=False) as response:
        return response.status, URL(response.headers.get("Location", ""))


async def exchange(
    sandbox: Sandbox, http: aiohttp.ClientSession, **fields: str
) -> tuple[int, dict[str, str]]:
    """Exchange an authorization code at the token endpoint."""
    async with http.post(sandbox.token_url, data=EXCHANGE | fields) as response:
        return response.status, await response.json()


def test_the_challenge_is_that_of_the_standard() -> None:
    """The example of RFC 7636, appendix B."""
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert s256_challenge(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


async def test_a_browser_is_redirected_with_a_code_that_can_be_used_once(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """It is approved at once, for the chosen account."""
    sandbox.authority.sign_in.account = Account("acct-chosen")
    status, location = await authorize(sandbox, http)
    assert status == 302
    assert str(location.with_query(None)) == CALLBACK
    assert location.query["state"] == "some-state"
    status, body = await exchange(sandbox, http, code=location.query["code"])
    assert status == 200
    claims = read_claims(body["id_token"])[AUTH_CLAIM]
    assert isinstance(claims, dict)
    assert claims["chatgpt_account_id"] == "acct-chosen"
    assert {"access_token", "refresh_token"} < set(body)
    status, body = await exchange(sandbox, http, code=location.query["code"])
    assert (status, body["error"]) == (400, "invalid_grant")
    assert sandbox.authority.outcomes == {"signed_in": 1, "invalid_grant": 1}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("client_id", "app_other"),
        ("redirect_uri", "http://localhost:1455/wrong"),
        ("code_verifier", "wrong"),
        ("code", "wrong"),
    ],
)
async def test_a_code_is_bound_to_its_client_redirect_uri_and_verifier(
    sandbox: Sandbox, http: aiohttp.ClientSession, name: str, value: str
) -> None:
    """A registered client cannot redeem the code of another one."""
    sandbox.authority.clients.register("app_other")
    _, location = await authorize(sandbox, http)
    fields = {"code": location.query["code"], name: value}
    status, body = await exchange(sandbox, http, **fields)
    assert (status, body["error"]) == (400, "invalid_grant")


async def test_a_code_is_spent_although_the_response_is_lost(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """As a refresh token is: the call arrived."""
    _, location = await authorize(sandbox, http)
    sandbox.authority.fault(AuthorityFault("answer", status=502), times=1)
    statuses = [
        (await exchange(sandbox, http, code=location.query["code"]))[0]
        for _ in range(2)
    ]
    assert statuses == [502, 400]


async def test_an_unregistered_client_cannot_start_a_sign_in(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """RFC 6749 section 4.1.2.1: the browser is not redirected."""
    status, location = await authorize(sandbox, http, client_id="app_else")
    assert (status, str(location)) == (400, "")
    url = f"{sandbox.issuer_url}/api/accounts/deviceauth/usercode"
    async with http.post(url, json={"client_id": "app_else"}) as response:
        assert response.status == 401
        assert (await response.json())["error"] == "invalid_client"


@pytest.mark.parametrize(
    "changed",
    [
        {"redirect_uri": "https://sandbox.invalid/callback"},
        {"redirect_uri": ""},
        {"code_challenge_method": "plain"},
        {"response_type": "token"},
    ],
)
async def test_a_wrong_sign_in_request_is_not_redirected(
    sandbox: Sandbox, http: aiohttp.ClientSession, changed: dict[str, str]
) -> None:
    """A code is sent to loopback only, and needs PKCE."""
    status, location = await authorize(sandbox, http, **changed)
    assert (status, str(location)) == (400, "")


async def test_a_person_can_decline(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """The browser is redirected with an error and no code."""
    sandbox.authority.sign_in.declines = True
    _, location = await authorize(sandbox, http)
    assert location.query["error"] == "access_denied"
    assert "code" not in location.query


class Device:
    """A device that signs in by code."""

    def __init__(self, sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self.http = http
        self.issued: dict[str, str] = {}

    async def call(self, path: str, body: object) -> tuple[int, dict[str, str]]:
        url = f"{self.sandbox.issuer_url}/api/accounts/deviceauth/{path}"
        async with self.http.post(url, json=body) as response:
            return response.status, await response.json()

    async def start(self) -> int:
        status, self.issued = await self.call(
            "usercode", {"client_id": CODEX_CLIENT_ID}
        )
        return status

    async def poll(self) -> tuple[int, dict[str, str]]:
        fields = {key: self.issued[key] for key in ("device_auth_id", "user_code")}
        return await self.call("token", fields)


@pytest.fixture
def device(sandbox: Sandbox, http: aiohttp.ClientSession) -> Device:
    """A device that has not started to sign in."""
    return Device(sandbox, http)


async def test_a_device_waits_until_its_code_is_approved(
    sandbox: Sandbox, http: aiohttp.ClientSession, device: Device
) -> None:
    """403 until then, afterwards a code with the verifier of the server."""
    assert await device.start() == 200
    assert device.issued["interval"] == "1"
    assert (await device.poll())[0] == 403
    user_code = device.issued["user_code"]
    assert sandbox.authority.sign_in.waiting_user_codes == [user_code]
    page = f"{sandbox.issuer_url}/codex/device"
    async with http.get(page) as response:
        assert "user_code" in await response.text()
    async with http.post(page, data={"user_code": "WRONG"}) as response:
        assert response.status == 404
    async with http.post(page, data={"user_code": user_code}) as response:
        assert response.status == 200
    status, given = await device.poll()
    assert status == 200
    assert given["code_challenge"] == s256_challenge(given["code_verifier"])
    status, body = await exchange(
        sandbox,
        http,
        code=given["authorization_code"],
        code_verifier=given["code_verifier"],
        redirect_uri=f"{sandbox.issuer_url}/deviceauth/callback",
    )
    assert status == 200
    assert body["refresh_token"]
    assert sandbox.authority.sign_in.device_polls == 2
    assert (await device.poll())[0] == 404


async def test_a_device_can_be_approved_at_once(
    sandbox: Sandbox, device: Device
) -> None:
    """Tests that are not about waiting use this."""
    sandbox.authority.sign_in.device_auto_approve = True
    await device.start()
    assert (await device.poll())[0] == 200
    assert not sandbox.authority.sign_in.approve_device()


async def test_device_login_can_be_off(sandbox: Sandbox, device: Device) -> None:
    """404, as from a server that does not offer it."""
    sandbox.authority.sign_in.device_enabled = False
    assert await device.start() == 404


@pytest.mark.parametrize("body", [{}, []])
async def test_a_wrong_device_call_is_refused(device: Device, body: object) -> None:
    """Without a client or a device there is nothing to start or to poll."""
    assert (await device.call("usercode", body))[0] == 400
    assert (await device.call("token", body))[0] == 404


async def test_a_device_call_without_json_is_refused(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    """It is a 400 and no failure of the server."""
    url = f"{sandbox.issuer_url}/api/accounts/deviceauth/usercode"
    async with http.post(url, data=b"nonsense") as response:
        assert response.status == 400
