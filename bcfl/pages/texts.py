"""Write values for people: amounts, times, shares, shortened hashes, and text that others chose."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import ClassVar, Final

PERCENT: Final = frozenset({"accuracy", "balanced accuracy"})  # metrics that are shown as percent
UNITS: Final = (("ether", 18), ("gwei", 9))
DECIMALS: Final = 6
LEAST_DECIMAL, MOST_DECIMAL = 0.001, 10.0  # between them a metric has four decimals
DASH: Final = "–"
WHITE: Final = "\n\t "
LONG_HEX: Final = 20  # letters above which the middle of a hash is left out
MINUTE, HOUR, DAY = 60, 3600, 86400
HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})  # Unicode categories


class _Times:
    """How times are shown by this process, which shows one federation at a time."""

    start: ClassVar[int | None] = None  # of a simulated chain, seconds


def ether(wei: int) -> str:
    """Return an amount in the largest unit in which six decimals say all of it, or nearly (~) in ether."""
    for unit, digits in UNITS:
        whole, fraction = divmod(wei, 10**digits)
        if wei and fraction % 10 ** (digits - DECIMALS) == 0:
            decimals = f"{fraction // 10 ** (digits - DECIMALS):0{DECIMALS}}".rstrip("0")
            return f"{whole:,}" + f".{decimals}" * bool(decimals) + f" {unit}"
    if wei >= 10**14:
        return f"~{Decimal(wei).scaleb(-18):,.6f} ether"
    return f"{wei:,} wei" if wei else "0"


def brief(wei: int) -> str:
    """Return an amount with four decimals of ether at most, ~ where that is not all of it."""
    text = ether(wei)
    if len(text.removesuffix(" ether")) <= len("0.0000"):
        return text
    amount = Decimal(wei).scaleb(-18)
    return f"~{amount:,.4f} ether" if amount >= Decimal("0.0001") else text


def count_times_from(start: int | None) -> None:
    """Let times be shown as hours since `start`, where a simulated chain begins; None: as dates, UTC."""
    _Times.start = start


def clock_name() -> str:
    """Return what times are counted by, as headings say it."""
    return "UTC" if _Times.start is None else "simulated"


def clock_words() -> str:
    """Return what times are counted by, as sentences say it behind a time."""
    return "UTC" if _Times.start is None else "of simulated time"


def format_time(timestamp: int | None) -> str | None:
    """Return a timestamp of the chain as a date and a time, UTC; of a simulated chain +H:MM:SS.

    None for a year that no calendar has.
    """
    if timestamp is None:
        return None
    if _Times.start is not None:
        minutes, seconds = divmod(timestamp - _Times.start, 60)
        return f"+{minutes // 60}:{minutes % 60:02}:{seconds:02}"
    try:
        return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%d %H:%M:%S}"
    except (OverflowError, OSError, ValueError):
        return None


def duration(seconds: float | None) -> str:
    """Return a length of time in its two largest units."""
    if seconds is None:
        return DASH
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    for unit, name, part, part_name in ((DAY, "d", HOUR, "h"), (HOUR, "h", MINUTE, "min")):
        if whole >= unit:
            rest = whole % unit // part
            return f"{whole // unit:,} {name}" + f" {rest} {part_name}" * bool(rest)
    return f"{whole // MINUTE} min" + f" {whole % MINUTE} s" * bool(whole % MINUTE)


def metric_text(name: str, value: float | None) -> str:
    """Return a metric as tables show it: a share in percent, another number with four digits, - for none."""
    if value is None:
        return "-"
    if name in PERCENT:
        return f"{value:.2%}"
    is_usual = not value or LEAST_DECIMAL <= abs(value) < MOST_DECIMAL
    return f"{value:.4f}" if is_usual else f"{value:.4g}"


def plural(count: int, word: str) -> str:
    """Return a count and its noun."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def words(name: str | None) -> str:
    """Return a name of the code as words."""
    return DASH if name is None else name.replace("_", " ")


def hex_text(value: bytes | str) -> str:
    """Return bytes as 0x and digits; a text as it is."""
    return f"0x{value.hex()}" if isinstance(value, bytes) else value


def value_text(value: object) -> str:
    """Return a value of a contract in words: bytes as 0x and digits, a list in brackets."""
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, bytes):
        return hex_text(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(str(each) if type(each) is int else value_text(each) for each in value)}]"
    return f"{value:,}" if isinstance(value, int) else plain(str(value))


def short(value: bytes | str | None) -> str:
    """Return a hash, an address or a CID with its middle left out."""
    if value is None:
        return DASH
    text = hex_text(value)
    return text if len(text) <= LONG_HEX else f"{text[:6]}…{text[-4:]}"


def plain(text: str) -> str:
    """Return a text with nothing that hides or reorders: control, format and unassigned characters."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        letter if letter in WHITE or unicodedata.category(letter) not in HIDDEN else "\ufffd"
        for letter in text
    )


def json_text(content: object, indent: int | None = None) -> str:
    """Return JSON that every reader takes: bytes as 0x and digits, null for what is no finite number."""
    return json.dumps(finite(content), indent=indent, default=_encoded, ensure_ascii=False, allow_nan=False)


def finite(content: object) -> object:
    """Return content with None for what is no finite number, in lists and objects too."""
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, Mapping):
        return {name: finite(value) for name, value in content.items()}
    return [finite(value) for value in content] if isinstance(content, list | tuple) else content


def _encoded(value: object) -> object:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    raise TypeError(f"{type(value).__name__} is not JSON")
