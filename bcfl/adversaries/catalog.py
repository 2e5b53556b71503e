"""The attacks by name, and how somebody asks for them: `NAME:SHARE[:KEY=VALUE,...]` (step 1).

An attack is imported when it is named; a run without any imports none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import MISSING, Field, dataclass, fields
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, get_args, get_type_hints

from bcfl.errors import ConfigError

if TYPE_CHECKING:
    from bcfl.adversaries.attack import DeviceAttack, MinerAttack

DEVICES: Final = {
    "label-flip": "label_flip:LabelFlip",
    "sign-flip": "vectors:SignFlip",
    "noise": "vectors:Noise",
    "scaling": "vectors:Scaling",
    "backdoor": "backdoor:Backdoor",
    "alie": "alie:Alie",
    "ipm": "ipm:Ipm",
    "minmax": "minmax:MinMax",
    "minsum": "minmax:MinSum",
    "free-rider": "free_rider:FreeRider",
    "plagiarist": "plagiarist:Plagiarist",
    "inflater": "claims:Inflater",
    "time-forger": "claims:TimeForger",
    "dropout": "dropout:Dropout",
    "withholder": "hostile_store:Withholder",
    "malformed": "hostile_store:Malformed",
}
MINERS: Final = {
    "lazy-miner": "miners:LazyMiner",
    "colluding-miner": "miners:ColludingMiner",
    "silent-miner": "miners:SilentMiner",
}
NAMES: Final = (*DEVICES, *MINERS)
NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
WHOLE: Final = re.compile(r"[+-]?\d{1,18}", re.ASCII)
TRUTH: Final = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclass(frozen=True)
class Parameter:
    """One parameter of an attack; `kind` is int, float, bool or str, `none`: whether none is a value."""

    name: str
    kind: type
    none: bool
    default: Any
    meaning: str
    choices: tuple[str, ...]
    least: float | None
    most: float | None


@dataclass(frozen=True)
class Described:
    """An attack as `bcfl adversaries` lists it."""

    name: str
    role: str  # devices or miners
    summary: str
    paper: str
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True)
class Spec:
    """So many misbehave so; `text` is what somebody asked for, in its one spelling."""

    name: str
    share: float
    attack: Any  # a DeviceAttack or, where `mines`, a MinerAttack
    text: str

    @property
    def mines(self) -> bool:
        """Whether it is miners that misbehave."""
        return self.name in MINERS

    def count(self, members: int) -> int:
        """How many of so many members misbehave: the share, rounded half up."""
        return math.floor(self.share * members + 0.5)


@cache
def kind_of(name: str) -> type[DeviceAttack | MinerAttack]:
    """The class of an attack; raises ConfigError, with the nearest name, if there is none of that name."""
    place = DEVICES.get(name) or MINERS.get(name)
    if place is None:
        near = ", ".join(get_close_matches(name, NAMES, n=3, cutoff=0.4)) or ", ".join(NAMES)
        raise ConfigError(f"there is no adversary {name[:40]!r}; the nearest: {near}")
    module, _, attribute = place.partition(":")
    found: type[DeviceAttack | MinerAttack] = getattr(import_module(f"bcfl.adversaries.{module}"), attribute)
    return found


@cache
def describe(name: str) -> Described:
    """What an attack does, where it comes from and what can be set."""
    kind = kind_of(name)
    hints = get_type_hints(kind)
    parameters = tuple(_parameter(each, hints[each.name]) for each in fields(kind))
    role = "miners" if name in MINERS else "devices"
    return Described(name, role, (kind.__doc__ or "").splitlines()[0], kind.PAPER, parameters)


def parse(text: str) -> Spec:
    """The adversaries that `NAME:SHARE[:KEY=VALUE,...]` asks for; raises ConfigError of one line."""
    name, *rest = text.strip().split(":", 2)
    kind = kind_of(name)
    if not rest:
        raise ConfigError(
            f"{name} needs a share of the {describe(name).role}: write, for example, {name}:0.3"
        )
    share = _share(name, rest[0])
    given = _pairs(name, rest[1]) if len(rest) > 1 else {}
    said = ",".join(f"{key}={_spelt(value)}" for key, value in given.items())
    return Spec(name, share, kind(**given), f"{name}:{share:g}" + (f":{said}" if said else ""))


def seats(specs: Sequence[Spec], devices: int, miners: int) -> None:
    """Raise ConfigError unless everybody who misbehaves finds a place."""
    for role, members, asked in (
        ("devices", devices, [spec for spec in specs if not spec.mines]),
        ("miners", miners, [spec for spec in specs if spec.mines]),
    ):
        for spec in asked:
            if not spec.count(members):
                raise ConfigError(f"{spec.text} is not one of {role}={members}: raise the share")
        total = sum(spec.count(members) for spec in asked)
        if total > members:
            raise ConfigError(f"{total} adversaries are more than {role}={members}: lower the shares")


def _parameter(found: Field[Any], hint: Any) -> Parameter:
    kinds = [each for each in get_args(hint) if each is not NoneType] or [hint]
    assert found.default is not MISSING
    return Parameter(
        name=found.name,
        kind=kinds[0],
        none=NoneType in get_args(hint),
        default=found.default,
        meaning=found.metadata["meaning"],
        choices=found.metadata["choices"],
        least=found.metadata["least"],
        most=found.metadata["most"],
    )


def _share(name: str, text: str) -> float:
    if not NUMBER.fullmatch(text.strip()):
        raise ConfigError(
            f"the share {text[:40]!r} of {name} is not a number: write, for example, {name}:0.3"
        )
    share = float(text)
    if not 0 < share <= 1:
        raise ConfigError(f"the share {text.strip()[:40]} of {name} must be above 0 and at most 1")
    return share


def _pairs(name: str, text: str) -> dict[str, Any]:
    known = {parameter.name: parameter for parameter in describe(name).parameters}
    given: dict[str, Any] = {}
    for pair in text.split(","):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not key:
            raise ConfigError(f"{pair[:40]!r} of {name} is not key=value")
        if key not in known:
            raise ConfigError(f"{name} has no parameter {key[:40]!r}; {_choice(list(known))}")
        if key in given:
            raise ConfigError(f"{name} has {key} twice")
        given[key] = _value(name, known[key], value)
    return given


def _choice(known: Sequence[str]) -> str:
    return f"it has {', '.join(known)}" if known else "it has none"


def _value(name: str, parameter: Parameter, text: str) -> Any:
    """The value of a parameter as its kind and bounds have it."""
    what = f"{name}'s {parameter.name}={text[:40]}"
    if parameter.none and text.lower() == "none":
        return None
    if parameter.choices:
        if text not in parameter.choices:
            raise ConfigError(f"{what} must be one of {', '.join(parameter.choices)}")
        return text
    if parameter.kind is bool:
        if text.lower() not in TRUTH:
            raise ConfigError(f"{what} must be true or false")
        return TRUTH[text.lower()]
    form, word = (WHOLE, "a whole number") if parameter.kind is int else (NUMBER, "a number")
    if not form.fullmatch(text):
        raise ConfigError(f"{what} must be {word}")
    value = parameter.kind(text)
    if parameter.least is not None and value < parameter.least:
        raise ConfigError(f"{what} must be at least {parameter.least:g}")
    if parameter.most is not None and value > parameter.most:
        raise ConfigError(f"{what} must be at most {parameter.most:g}")
    return value


def _spelt(value: object) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
