"""Who may come in. Knows requests, nothing of pictures.

What a stranger on the network can reach: nothing while the page listens on the loopback address; else status 401 or
403 and no content. A page of another site in the user's own browser can reach the port, so every request must name a
host of ours (DNS rebinding brings a foreign name) and, where it names an origin, our own (a foreign page's request or
socket). All the rest is bounded: connections, time for a request's head, its size.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterable
from urllib.parse import urlsplit

from aiohttp import web

from edge_tracker.outputs.web.address import is_loopback

MOST_CONNECTIONS = 64
HEAD_S = 10.0  # from the connection to a whole head of the first request
LARGEST_BODY = 4096  # bytes
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self' blob:; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Server": "edge-tracker",
}
log = logging.getLogger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Door:
    """Checks each request; `token` None where the page is for this machine alone."""

    def __init__(self, host: str, port: int, names: Iterable[str] = (), token: str | None = None) -> None:
        self.token = token
        if token is None and not is_loopback(host):
            self.token = secrets.token_urlsafe(16)
        own = socket.gethostname().lower()
        self._names = {"localhost", own, f"{own}.local", *(name.lower() for name in names)}
        self._cookie = f"edge_tracker_{port}"
        self._heard: set[asyncio.BaseTransport] = set()

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.transport is not None:
            self._heard.add(request.transport)
        try:
            self._check(request)
            if request.path == "/" and "token" in request.query:
                return self._welcome(request)
            response = await handler(request)
        except (ConnectionError, web.RequestPayloadError):
            response = refusal(400, "the request did not come to its end")
        except web.HTTPException as error:
            response = refusal(error.status, error.text or error.reason)
        except Exception:
            log.exception("a request to the page failed")
            response = refusal(500, "this failed; the log says more")
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    def _check(self, request: web.Request) -> None:
        """Raise HTTPForbidden or HTTPUnauthorized for who must not come in."""
        if not self._is_ours(request.headers.get("Host", "")):
            raise web.HTTPForbidden(text="this name is not one of the page's (see names in the settings of the page)")
        origin = request.headers.get("Origin")
        if origin is not None and origin.partition("://")[2].lower() != request.headers.get("Host", "").lower():
            raise web.HTTPForbidden(text="requests of other sites are refused")
        if self.token is None:
            return
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        given = [request.cookies.get(self._cookie, ""), bearer if scheme.lower() == "bearer" else ""]
        if request.path == "/":
            given.append(request.query.get("token", ""))
        bytes_given = [each.encode("utf-8", "surrogateescape") for each in given]  # headers may hold any
        matches = [hmac.compare_digest(each, self.token.encode()) for each in bytes_given]  # all, in equal time
        if not any(matches):
            raise web.HTTPUnauthorized(text="open the address with the token that was printed at the start")

    def _is_ours(self, host: str) -> bool:
        """Whether a Host header names us: by an address, which no name server gives away, or by a name of ours."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _welcome(self, request: web.Request) -> web.StreamResponse:
        """Turn the token in the address into a cookie, so that it stays out of history and logs."""
        response = web.Response(status=303, headers={"Location": "/", **HEADERS})
        if self.token is not None:
            secure = request.secure or request.headers.get("X-Forwarded-Proto") == "https"
            response.set_cookie(
                self._cookie, self.token, httponly=True, samesite="Strict", secure=secure, max_age=400 * 86400
            )
        return response

    def protocol(self, server: web.Server, loop: asyncio.AbstractEventLoop) -> asyncio.BaseProtocol:
        """A connection's protocol: aiohttp's, but for one connection too many, and for one that says nothing."""
        if len(server.connections) >= MOST_CONNECTIONS:
            return _Closed()
        handler = server()

        def check() -> None:
            transport = handler.transport
            if transport is not None and transport not in self._heard:
                transport.abort()
            self._heard = {each for each in self._heard if not each.is_closing()}

        loop.call_later(HEAD_S, check)
        return handler


def refusal(status: int, text: str) -> web.Response:
    """The last answer of a connection: a stranger's second request would have no limit of time."""
    response = web.json_response({"error": text}, status=status)
    response.force_close()
    return response


class _Closed(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()
