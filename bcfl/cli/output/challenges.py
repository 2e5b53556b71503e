"""Say how long a proposal stays open to challenges, and what it means where there are none."""

from __future__ import annotations

from typing import Final

NONE: Final = "none: who attests a wrong model risks nothing"


def challenge_fields(window_seconds: int) -> list[tuple[str, str]]:
    """Return as a field how long a proposal stays open to challenges; 0: there are none."""
    return [("challenges", f"open for {window_seconds} s after each proposal" if window_seconds else NONE)]


def challenge_content(window_seconds: int) -> dict[str, str]:
    """Return what JSON says where there are no challenges; nothing where there are."""
    return {} if window_seconds else {"challenges": NONE}
