"""Around a service: who may ask, what every answer says to browsers, and the rest of bodies that nobody reads."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from pptsm.serving.limits import Refused, is_loopback, is_right_token

DRAINED_BYTES, DRAINED_SEC = 32 << 20, 2.0
OPEN = ("/", "/docs", "/openapi.json", "/v2/health/live", "/v2/health/ready")  # without a token: they tell no secret
HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}

Message = dict[str, Any]


class Guard:
    """An ASGI application around another one.

    Args:
        app: what answers.
        token: that requests must have; None: whoever reaches a loopback address may ask, by that address alone, so
            that no page of a browser here can ask under another site's name.
        count: called with route and status of each answer.
    """

    def __init__(self, app: Any, token: str | None, count: Callable[[str, int], None]) -> None:
        self._app = app
        self._token = token
        self._count = count

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        try:
            self._require_allowed(scope)
        except Refused as refusal:
            await exchange.refuse(refusal)
        else:
            await self._app(scope, exchange.receive, exchange.send)
        route = getattr(scope.get("route"), "path", "other")  # an address that nobody answers has no line of its own
        self._count(route, exchange.status)

    def _require_allowed(self, scope: Message) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if headers.get("sec-fetch-site") == "cross-site" and scope["method"] != "GET":
            raise Refused(403, "a page of another site sent this, which is not answered.")
        if self._token is not None:
            if scope["path"] not in OPEN and not is_right_token(headers.get("authorization"), self._token):
                raise Refused(
                    401,
                    "this service asks for its token: send the header `Authorization: Bearer TOKEN`.",
                    WWW_Authenticate="Bearer",
                )
        elif not is_loopback(_host_of(headers.get("host", "localhost"))):
            raise Refused(
                403,
                "without a token this service answers to 127.0.0.1 and localhost alone: use that address, or "
                "start it with a token.",
            )


def _host_of(header: str) -> str:
    """The header `Host` without the port."""
    return header[: header.index("]") + 1] if header.startswith("[") and "]" in header else header.partition(":")[0]


class _Exchange:
    """One request and its answer, on their way through."""

    def __init__(self, scope: Message, receive: Any, send: Any) -> None:
        self.status = 499  # nginx's code for a client that left before an answer
        self._receive, self._send = receive, send
        # who waits for a word before the body is sent, has sent none of it
        waits = any(name == b"expect" and value.lower() == b"100-continue" for name, value in scope["headers"])
        self._unread = not waits and scope["method"] in ("POST", "PUT", "PATCH")

    async def receive(self) -> Message:
        """The next part of the request."""
        message: Message = await self._receive()
        self._unread = message["type"] == "http.request" and message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """A part of the answer. An early one waits for the rest of the body, or the client may never read it."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self.status >= 400:
                await self._drain()
            said = {name.lower() for name, _ in message["headers"]}
            added = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in said]
            message = message | {"headers": [*message["headers"], *added]}
        await self._send(message)

    async def refuse(self, refusal: Refused) -> None:
        """Answer with a status and a sentence."""
        body = json.dumps({"error": str(refusal)}).encode()
        headers = {"content-type": "application/json", "content-length": str(len(body))} | refusal.headers
        pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": refusal.status, "headers": pairs})
        await self.send({"type": "http.response.body", "body": body})

    async def _drain(self) -> None:
        count = 0
        try:
            async with asyncio.timeout(DRAINED_SEC):
                while self._unread and count < DRAINED_BYTES:
                    count += len((await self.receive()).get("body", b""))
        except TimeoutError:
            pass
