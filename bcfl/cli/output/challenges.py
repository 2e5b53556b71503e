"""Say how long a proposal stays open to challenges, and what it means where there are none."""

from __future__ import annotations

from typing import Final

NONE: Final = "none: who attests a wrong model risks nothing"


def challenge_fields(window_seconds: int, shown_bytes: int | None = None) -> list[tuple[str, str]]:
    """Return as a field how long a proposal is open to challenges, 0: there are none, and what one shows."""
    if not window_seconds:
        return [("challenges", NONE)]
    price = "" if shown_bytes is None else f"; opening one shows up to {shown_bytes:,} bytes of leaves"
    return [("challenges", f"open for {window_seconds} s after each proposal{price}")]


def challenge_content(window_seconds: int) -> dict[str, str]:
    """Return what JSON says where there are no challenges; nothing where there are."""
    return {} if window_seconds else {"challenges": NONE}
