"""Write the key that a miner reads with behind its endpoint, and find it there.

It is the X25519 key of `sealing`, announced on chain as the last part of the endpoint's fragment:
`https://miner.example#sha256=<pin>&x25519=<key>`, or `#x25519=<key>` where there is no endpoint.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

WRAP_BYTES: Final = 80  # that an update is longer for each reader
TAG_BYTES: Final = 16  # that anything sealed is longer
ANNOUNCED: Final = re.compile(r"[#&]x25519=([A-Za-z0-9_-]{43})\Z", re.ASCII)


def announcement(public: bytes) -> str:
    """Return how a miner announces its key: in the fragment of its endpoint, 50 letters."""
    return "x25519=" + urlsafe_b64encode(public).decode("ascii").rstrip("=")


def announced_key(endpoint: str) -> bytes | None:
    """Return the key behind an endpoint that a miner announced; None where there is none."""
    match = ANNOUNCED.search(endpoint)
    if match is None:
        return None
    public = urlsafe_b64decode(match[1] + "=")
    return public if announcement(public) == f"x25519={match[1]}" else None


def without_key(endpoint: str) -> str:
    """Return an announced endpoint without its key."""
    return ANNOUNCED.sub("", endpoint) if announced_key(endpoint) else endpoint


def with_key(endpoint: str, public: bytes) -> str:
    """Return an endpoint, "" for none, with a key behind it in place of any that is there."""
    plain = without_key(endpoint)
    return plain + ("&" if "#" in plain else "#") + announcement(public)
