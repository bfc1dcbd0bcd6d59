"""A strict authority and an upstream. No line of bearerd takes part in them.

The authority rotates a refresh token whenever its token logic sees one. A spent token that
is presented again ends the whole family. A `Scene` decides about the next calls: whether
the token logic sees the token, what the response is, and when it is sent.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from itertools import count
from typing import Any

from tests.login.http1 import Connection, Request, Response, Server

CLIENT_ID = "app_EMoamEEZ73f0CkXaXp7hrann"
CLAIMS = "https://api.openai.com/auth"

Document = dict[str, Any]


def jwt(claims: Mapping[str, object]) -> str:
    """Return an unsigned JWT with these claims."""
    parts = (b'{"alg":"none","typ":"JWT"}', json.dumps(claims).encode(), b"unsigned")
    return ".".join(
        base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts
    )


def error(status: int, code: str, **headers: str) -> Response:
    """Return an error in the authority's shape."""
    document = {"error": {"message": f"because of {code}", "code": code}}
    return Response.of_json(status, document, **headers)


PLAIN_401 = Response.of_json(401, {"detail": "Unauthorized"})
"""What both sides answer while the identity service is down."""


@dataclass(slots=True)
class Family:
    """One login: its refresh tokens in order, the last one live, and its access tokens."""

    account_id: str
    user_id: str
    refresh_tokens: list[str] = field(default_factory=list)
    access_tokens: dict[str, float] = field(default_factory=dict)
    is_alive: bool = True

    @property
    def live_token(self) -> str:
        """The refresh token that works."""
        return self.refresh_tokens[-1]

    @property
    def rotations(self) -> int:
        """How often the family was rotated."""
        return len(self.refresh_tokens) - 1


@dataclass(slots=True)
class Call:
    """One presentation of a refresh token: what the token was, and what it became."""

    at: float
    token: str
    standing: str
    request: Request
    has_spent: bool = False
    status: int | None = None


@dataclass(slots=True)
class Turn:
    """One call in the hands of a scene."""

    authority: Authority
    call: Call
    connection: Connection

    def spend(self, **options: Any) -> Response:
        """Let the token logic see the token. Return what it says."""
        return self.authority.exchange(self.call, **options)

    async def answer(self, response: Response | bytes) -> None:
        """Send the response, with the authority's date."""
        if isinstance(response, Response):
            self.call.status = response.status
            response = self.authority.dated(response)
        await self.connection.send(response)


Scene = Callable[[Turn], Awaitable[None]]


def says(response: Response) -> Scene:
    """Return a scene that answers without a look at the token: nothing is spent."""

    async def scene(turn: Turn) -> None:
        await turn.answer(response)

    return scene


def grants(**options: Any) -> Scene:
    """Return a scene that grants; `options` are those of `Authority.exchange`."""

    async def scene(turn: Turn) -> None:
        await turn.answer(turn.spend(**options))

    return scene


def spends_and_says(response: Response) -> Scene:
    """Return a scene that rotates, and then answers something else."""

    async def scene(turn: Turn) -> None:
        turn.spend()
        await turn.answer(response)

    return scene


def grants_after(gate: asyncio.Event, **options: Any) -> Scene:
    """Return a scene that rotates at once and sends the grant once *gate* is set."""

    async def scene(turn: Turn) -> None:
        granted = turn.spend(**options)
        await gate.wait()
        await turn.answer(granted)

    return scene


def hangs(*, spends: bool) -> Scene:
    """Return a scene that never answers."""

    async def scene(turn: Turn) -> None:
        if spends:
            turn.spend()
        await turn.connection.peer_closed()

    return scene


def breaks(*, spends: bool) -> Scene:
    """Return a scene that resets the connection in place of an answer."""

    async def scene(turn: Turn) -> None:
        if spends:
            turn.spend()
        turn.connection.reset()

    return scene


def trickles(pause: float, piece: int = 40) -> Scene:
    """Return a scene that rotates, and sends the grant in pieces with pauses."""

    async def scene(turn: Turn) -> None:
        granted = turn.spend()
        data = turn.authority.dated(granted).encoded()
        for start in range(0, len(data), piece):
            await turn.connection.send(data[start : start + piece])
            await asyncio.sleep(pause)
        turn.call.status = granted.status

    return scene


class Authority:
    """The authority: refresh, revoke, and sign-in by device code.

    `scenes` are for the next calls, one each; `always` is for those after them. `calls`
    are all presentations of refresh tokens. `ttl_seconds` is how long a new access token
    lives. `person` is the account that approves a sign-in by device code.
    """

    def __init__(self) -> None:
        self.now: Callable[[], float] = time.time
        self.calls: list[Call] = []
        self.scenes: deque[Scene] = deque()
        self.always: Scene = grants()
        self.families: list[Family] = []
        self.ttl_seconds = 3600.0
        self.revoked: list[str] = []
        self.client_id = CLIENT_ID
        self.device = DeviceSignIn(self)
        self.server = Server(self._handle)
        self._serials = count(1)

    @property
    def url(self) -> str:
        """What `issuer_url` has to be."""
        return f"http://127.0.0.1:{self.server.port}"

    @property
    def reuses(self) -> int:
        """How many calls presented a spent token."""
        return sum(call.standing == "spent" for call in self.calls)

    def dated(self, response: Response) -> Response:
        """Return a response with a Date field by the authority's clock."""
        fields = {"date": http_date(self.now()), **response.headers}
        return Response(response.status, response.body, fields)

    def sign_in(self, account_id: str = "acct-a", **options: Any) -> Family:
        """Begin a family, as a sign-in does."""
        family = Family(account_id, f"user-{account_id}")
        self.families.append(family)
        self.mint(family, **options)
        return family

    def mint(
        self,
        family: Family,
        *,
        ttl: float | None = None,
        age: float = 0.0,
        access_account: str | None = None,
        id_account: str | None = None,
        opaque: bool = False,
        rotates: bool = True,
        without: tuple[str, ...] = (),
        override: Mapping[str, object] | None = None,
    ) -> Document:
        """Make the next tokens of a family. Return the grant.

        `age` is how long ago the access token was issued by its `iat`. `access_account`
        and `id_account` are accounts that the tokens name in place of the family's. With
        `rotates` False the refresh token stays as it is.
        """
        serial, now = next(self._serials), self.now()
        expires = now + (self.ttl_seconds if ttl is None else ttl)
        claims = {
            CLAIMS: {
                "chatgpt_account_id": access_account or family.account_id,
                "chatgpt_user_id": family.user_id,
            },
            "exp": int(expires),
            "iat": int(now - age),
            "jti": f"a{serial}",
        }
        access = f"opaque-access-{serial}" if opaque else jwt(claims)
        id_claims = dict(claims)
        id_claims[CLAIMS] = {
            "chatgpt_account_id": id_account or access_account or family.account_id,
            "chatgpt_user_id": family.user_id,
            "chatgpt_plan_type": "pro",
        }
        id_token = jwt({"sub": "nobody"}) if opaque else jwt(id_claims)
        refresh = f"rt-{serial}-{family.account_id}-{time.monotonic_ns():x}"
        if rotates or not family.refresh_tokens:
            family.refresh_tokens.append(refresh)
        refresh = family.live_token
        family.access_tokens[access] = expires
        grant: Document = {
            "access_token": access,
            "refresh_token": refresh,
            "id_token": id_token,
            "expires_in": int(expires - now),
        }
        grant |= dict(override or {})
        return {name: value for name, value in grant.items() if name not in without}

    def document(self, family: Family, grant: Document | None = None) -> Document:
        """Return the family's newest tokens in the form of Codex's file."""
        access = list(family.access_tokens)[-1]
        is_opaque = access.startswith("opaque")
        claims = {CLAIMS: {"chatgpt_account_id": family.account_id}}
        tokens = {
            "id_token": jwt({"sub": "nobody"} if is_opaque else claims),
            "access_token": access,
            "refresh_token": family.live_token,
            "account_id": None if is_opaque else family.account_id,
        }
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self.now()))
        return {
            "auth_mode": "chatgpt",
            "OPENAI_API_KEY": None,
            "tokens": tokens | dict(grant or {}),
            "last_refresh": f"{stamp}.000000Z",
        }

    def owner_of(self, refresh_token: str) -> Family | None:
        """Return the family that a refresh token belongs to."""
        for family in self.families:
            if refresh_token in family.refresh_tokens:
                return family
        return None

    def standing_of(self, refresh_token: str) -> str:
        """Return live, spent, dead or unknown."""
        family = self.owner_of(refresh_token)
        if family is None:
            return "unknown"
        if refresh_token != family.live_token:
            return "spent"
        return "live" if family.is_alive else "dead"

    def accepts(self, access_token: str) -> bool:
        """Return True if an access token is live."""
        for family in self.families:
            if access_token in family.access_tokens:
                expires = family.access_tokens[access_token]
                return family.is_alive and expires > self.now()
        return False

    def revoke_access_tokens(self) -> None:
        """Make each access token of each family dead. Refresh tokens stay as they are."""
        for family in self.families:
            for token in family.access_tokens:
                family.access_tokens[token] = 0.0

    def exchange(self, call: Call, **options: Any) -> Response:
        """Run the token logic: rotate a live token, end the family of a spent one."""
        family = self.owner_of(call.token)
        if call.request.form().get("client_id") != self.client_id:
            return error(401, "invalid_client")
        if family is None or not family.is_alive:
            return error(401, "refresh_token_invalidated")
        if call.token != family.live_token:
            family.is_alive = False
            return error(401, "refresh_token_reused")
        call.has_spent = True
        return Response.of_json(200, self.mint(family, **options))

    async def _handle(self, request: Request, connection: Connection) -> None:
        if request.path == "/oauth/token":
            await self._token(request, connection)
        elif request.path == "/oauth/revoke":
            await connection.send(self._revoke(request))
        else:
            await connection.send(self.device.answer(request))

    async def _token(self, request: Request, connection: Connection) -> None:
        form = request.form()
        if form.get("grant_type") == "authorization_code":
            await connection.send(self.device.exchange(form))
            return
        token = str(form.get("refresh_token", ""))
        call = Call(time.monotonic(), token, self.standing_of(token), request)
        self.calls.append(call)
        scene = self.scenes.popleft() if self.scenes else self.always
        await scene(Turn(self, call, connection))

    def _revoke(self, request: Request) -> Response:
        token = str(request.form().get("token", ""))
        self.revoked.append(token)
        if self.standing_of(token) == "live":
            owner = self.owner_of(token)
            assert owner is not None
            owner.is_alive = False
        return Response.of_json(200, {})


class DeviceSignIn:
    """The sign-in by device code: pending until `approve` names an account.

    `hiccups` are the responses to the next polls. `polls` counts all polls.
    """

    def __init__(self, authority: Authority) -> None:
        self.person = ""
        self.polls = 0
        self.starts = 0
        self.hiccups: deque[Response] = deque()
        self.options: dict[str, Any] = {}
        self._authority = authority

    def approve(self, account_id: str, **options: Any) -> None:
        """Let the person with this account type in the code."""
        self.person, self.options = account_id, options

    def answer(self, request: Request) -> Response:
        """Answer the steps before the exchange."""
        if request.path.endswith("/deviceauth/usercode"):
            self.starts += 1
            document = {"device_auth_id": "d1", "user_code": "ABCD-EFGH"}
            return Response.of_json(200, {**document, "interval": "1"})
        if request.path.endswith("/deviceauth/token"):
            return self._poll()
        return Response(404)

    def exchange(self, form: Mapping[str, str]) -> Response:
        """Answer the exchange of the authorization code."""
        assert form["code"] == "code-1"
        options = dict(self.options)
        family = Family(self.person, f"user-{self.person}")
        self._authority.families.append(family)
        return Response.of_json(200, self._authority.mint(family, **options))

    def _poll(self) -> Response:
        self.polls += 1
        if self.hiccups:
            return self.hiccups.popleft()
        if not self.person:
            return Response.of_json(403, {"error": "authorization_pending"})
        document = {"authorization_code": "code-1", "code_verifier": "v" * 43}
        return Response.of_json(200, {**document, "code_challenge": "c"})


@dataclass(frozen=True, slots=True)
class Visit:
    """One request at the upstream, and the status that it got."""

    at: float
    path: str
    access_token: str
    account_id: str
    status: int
    fields: tuple[tuple[str, str], ...]


class Upstream:
    """Accepts live access tokens of the authority and nothing else.

    `outage` answers everything, whatever the token is. `by_path` answers one path.
    `rejection` is what a dead token gets.
    """

    def __init__(self, authority: Authority) -> None:
        self.visits: list[Visit] = []
        self.outage: Response | None = None
        self.by_path: dict[str, Response] = {}
        self.rejection = error(401, "token_expired")
        self.server = Server(self._handle)
        self._authority = authority

    @property
    def url(self) -> str:
        """What `upstream_url` has to be."""
        return f"http://127.0.0.1:{self.server.port}/backend-api"

    async def _handle(self, request: Request, connection: Connection) -> None:
        token = request.header("authorization").removeprefix("Bearer ")
        response = self._judge(request.path, token)
        self.visits.append(
            Visit(
                request.at,
                request.path,
                token,
                request.header("chatgpt-account-id"),
                response.status,
                request.fields,
            )
        )
        await connection.send(self._authority.dated(response))

    def _judge(self, path: str, token: str) -> Response:
        if self.outage is not None:
            return self.outage
        if path in self.by_path:
            return self.by_path[path]
        if not self._authority.accepts(token):
            return self.rejection
        return Response.of_json(200, {"ok": True})


def http_date(epoch_seconds: float) -> str:
    """Return a moment in the form of a Date field."""
    return formatdate(epoch_seconds, usegmt=True)
