"""Guard the explorer: which hosts it answers to, from where it may be asked, and what its pages may do.

A page of somebody else's in the same browser can send requests here. The name in Host has to be one of ours,
so that no foreign name that is made to point here (DNS rebinding) reads an answer. What a browser marks as
coming from another site is answered only where a person follows a link.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'self'",
    )
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
READS: Final = frozenset({"GET", "HEAD"})
MOST_URL: Final = 2048  # bytes of path and query


class Guard:
    """Refuse foreign hosts and sites, and set the headers of every answer."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = LOOPBACK, *, any_address: bool = False) -> None:
        self.app, self.hosts, self.any_address = app, frozenset(hosts), any_address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                if not scope["path"].startswith("/static/"):
                    headers["Cache-Control"] = "no-store"
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self.app(scope, receive, guarded)
        else:
            status, text = refusal
            await PlainTextResponse(text + "\n", status)(scope, receive, guarded)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Return status and reason where a request is refused."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return 421, "this explorer does not answer to that name: use its own address, or --allow-host"
        if len(scope["raw_path"]) + len(scope["query_string"]) > MOST_URL:
            return 414, "the address is too long"
        if self._is_of_another_site(scope["method"], headers, hosts[0]):
            return 403, "another site may not ask this explorer"
        return None

    def _is_of_another_site(self, method: str, headers: Headers, host: str) -> bool:
        """Whether another site asks, other than by a link. Our policy makes Origin null for a form."""
        site = headers.get("sec-fetch-site")
        if site in ("cross-site", "same-site"):
            return method not in READS or headers.get("sec-fetch-mode") != "navigate"
        origin = headers.get("origin")
        return site is None and method not in READS and origin not in (None, f"http://{host}")

    def _is_ours(self, host: str) -> bool:
        name = host.lower()
        if name.count(":") == 1 or name.startswith("["):
            end, _, port = name.rpartition(":")
            name = end if port.isdecimal() else name
        return name in self.hosts or (self.any_address and _is_address(name))


def _is_address(name: str) -> bool:
    """Whether a host is the number of a machine, which nobody can make point elsewhere."""
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
