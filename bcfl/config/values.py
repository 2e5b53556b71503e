"""Parse the values of options: amounts, wishes, adversaries, widths of lanes."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator

from bcfl.adversaries import catalog
from bcfl.errors import ConfigError
from bcfl.protocol import noise, wishes
from bcfl.protocol.limits import WEI_BITS

WEI: Final = {"wei": 0, "gwei": 9, "ether": 18, "eth": 18}
AMOUNT: Final = re.compile(r"(\d{1,30}(?:\.\d{1,18})?)(?: *([a-z]+))?")


def parse_wei(amount: object) -> int:
    """Return the wei of an amount such as `"1.5 ether"`, `"100 gwei"`, `"7 wei"` or a whole number of wei.

    Raises ValueError for anything else: a bare fraction would leave its unit to be guessed.
    """
    match = AMOUNT.fullmatch(str(amount).strip().lower())
    unit = match and WEI.get(match[2] or "wei")
    if match is None or unit is None or isinstance(amount, bool | float):
        raise ValueError("must be an amount such as '1.5 ether', '100 gwei' or a whole number of wei")
    wei = Decimal(match[1]).scaleb(unit)
    if wei != wei.to_integral_value() or wei >= 2**WEI_BITS:
        raise ValueError("must be a whole number of wei below 2**96")
    return int(wei)


def digits(value: object) -> object:
    """Return a text of digits as the number that it is, anything else as it was."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def parse_wishes(value: object) -> tuple[str, ...]:
    """Return wishes as `ROUND:ENGINE` each, in the order of rounds; a text may hold several, with commas.

    Raises ValueError for anything else, and for two of one round.
    """
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise ValueError("must be ROUND:ENGINE, or several of them")
    parts = [part for text in texts for part in text.replace(",", " ").split()]
    if any(texts) and not parts:
        raise ValueError("must be ROUND:ENGINE, or several of them")
    return tuple(str(wish) for wish in wishes.parse_all(parts))


def parse_specs(value: object) -> object:
    """Return adversaries, given as a list of texts or as one text with blanks, in their one spelling."""
    texts = value.split() if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise ValueError("must be NAME:SHARE[:KEY=VALUE,...], or a list of these")
    try:
        return tuple(catalog.parse(text).text for text in texts)
    except ConfigError as error:
        raise ValueError(str(error)) from None


def parse_noise(value: object) -> object:
    """Return what hides the data, `noise=X,clip=Y` and perhaps level and delta, in its one spelling."""
    if value is None:
        return None
    try:
        said = noise.of_options(str(value))
    except ConfigError as error:
        raise ValueError(str(error)) from None
    level = "" if said.level == noise.SAMPLE else f",level={said.level}"
    delta = "" if said.delta == noise.DELTA else f",delta={said.delta}"
    return f"noise={said.noise},clip={said.clip}{level}{delta}"


def parse_budget(value: object) -> object:
    """Return what all updates may tell, `epsilon=X` and perhaps delta, in its one spelling."""
    if value is None:
        return None
    try:
        return noise.budget_of_options(str(value)).text
    except ConfigError as error:
        raise ValueError(str(error)) from None


Wei = Annotated[int, BeforeValidator(parse_wei)]
Wishes = Annotated[tuple[str, ...], BeforeValidator(parse_wishes)]
Specs = Annotated[tuple[str, ...], BeforeValidator(parse_specs)]
Noised = Annotated[str | None, BeforeValidator(parse_noise)]
Budgeted = Annotated[str | None, BeforeValidator(parse_budget)]
Lane = Annotated[Literal[32, 16, 8], BeforeValidator(digits)]
