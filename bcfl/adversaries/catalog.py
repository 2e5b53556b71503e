"""The attacks by name, and the text that asks for one: `NAME:SHARE[:KEY=VALUE,...]`.

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
    "adaptive": "adaptive:Adaptive",
    "drift": "drift:Drift",
    "class-swap": "class_swap:ClassSwap",
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
    """One parameter of an attack; `kind` is int, float, bool or str, `optional`: whether none is a value."""

    name: str
    kind: type
    optional: bool
    default: Any
    meaning: str
    choices: tuple[str, ...]
    minimum: float | None
    maximum: float | None


@dataclass(frozen=True)
class Description:
    """An attack as `bcfl adversaries` lists it."""

    name: str
    role: str  # devices or miners
    summary: str
    paper: str
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True)
class AttackSpec:
    """An attack and the share that carries it out; `text` asks for it, in its one spelling."""

    name: str
    share: float
    attack: Any  # a DeviceAttack or, where `is_miner`, a MinerAttack
    text: str

    @property
    def is_miner(self) -> bool:
        """Whether miners misbehave, and not devices."""
        return self.name in MINERS

    def count(self, members: int) -> int:
        """Return how many of so many members misbehave: the share, rounded half up."""
        return math.floor(self.share * members + 0.5)


@cache
def attack_class(name: str) -> type[DeviceAttack | MinerAttack]:
    """Return the class of an attack; raises ConfigError, with the nearest names, if there is none."""
    path = DEVICES.get(name) or MINERS.get(name)
    if path is None:
        near = ", ".join(get_close_matches(name, NAMES, n=3, cutoff=0.4)) or ", ".join(NAMES)
        raise ConfigError(f"there is no adversary {name[:40]!r}; the nearest: {near}")
    module, _, attribute = path.partition(":")
    kind: type[DeviceAttack | MinerAttack] = getattr(import_module(f"bcfl.adversaries.{module}"), attribute)
    return kind


@cache
def describe(name: str) -> Description:
    """Describe what an attack does, where it comes from and what can be set."""
    kind = attack_class(name)
    hints = get_type_hints(kind)
    parameters = tuple(_parameter(each, hints[each.name]) for each in fields(kind))
    role = "miners" if name in MINERS else "devices"
    return Description(name, role, (kind.__doc__ or "").splitlines()[0], kind.PAPER, parameters)


def parse(text: str) -> AttackSpec:
    """Parse `NAME:SHARE[:KEY=VALUE,...]`; raises ConfigError of one line."""
    name, *parts = text.strip().split(":", 2)
    kind = attack_class(name)
    if not parts:
        raise ConfigError(
            f"{name} needs a share of the {describe(name).role}: write, for example, {name}:0.3"
        )
    share = _share(name, parts[0])
    values = _values(name, parts[1]) if len(parts) > 1 else {}
    pairs = ",".join(f"{key}={_spell(value)}" for key, value in values.items())
    return AttackSpec(name, share, kind(**values), f"{name}:{share:g}" + (f":{pairs}" if pairs else ""))


def check_counts(specs: Sequence[AttackSpec], devices: int, miners: int) -> None:
    """Raise ConfigError unless each spec is at least one member, and all together no more than there are."""
    for role, members, group in (
        ("devices", devices, [spec for spec in specs if not spec.is_miner]),
        ("miners", miners, [spec for spec in specs if spec.is_miner]),
    ):
        for spec in group:
            if not spec.count(members):
                raise ConfigError(f"{spec.text} is not one of {role}={members}: raise the share")
        total = sum(spec.count(members) for spec in group)
        if total > members:
            raise ConfigError(f"{total} adversaries are more than {role}={members}: lower the shares")


def _parameter(field: Field[Any], hint: Any) -> Parameter:
    kinds = [each for each in get_args(hint) if each is not NoneType] or [hint]
    assert field.default is not MISSING
    return Parameter(
        name=field.name,
        kind=kinds[0],
        optional=NoneType in get_args(hint),
        default=field.default,
        **field.metadata,
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


def _values(name: str, text: str) -> dict[str, Any]:
    """Parse `KEY=VALUE,...`."""
    parameters = {parameter.name: parameter for parameter in describe(name).parameters}
    values: dict[str, Any] = {}
    for pair in text.split(","):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not key:
            raise ConfigError(f"{pair[:40]!r} of {name} is not key=value")
        if key not in parameters:
            choice = f"it has {', '.join(parameters)}" if parameters else "it has none"
            raise ConfigError(f"{name} has no parameter {key[:40]!r}; {choice}")
        if key in values:
            raise ConfigError(f"{name} has {key} twice")
        values[key] = _value(name, parameters[key], value)
    return values


def _value(name: str, parameter: Parameter, text: str) -> Any:
    """Parse the value of a parameter and check it against the parameter's choices."""
    label = f"{name}'s {parameter.name}={text[:40]}"
    if parameter.optional and text.lower() == "none":
        return None
    if parameter.choices:
        if text not in parameter.choices:
            raise ConfigError(f"{label} must be one of {', '.join(parameter.choices)}")
        return text
    if parameter.kind is bool:
        if text.lower() not in TRUTH:
            raise ConfigError(f"{label} must be true or false")
        return TRUTH[text.lower()]
    return _number(label, parameter, text)


def _number(label: str, parameter: Parameter, text: str) -> int | float:
    """Parse a number and check it against the parameter's bounds."""
    pattern, noun = (WHOLE, "a whole number") if parameter.kind is int else (NUMBER, "a number")
    if not pattern.fullmatch(text):
        raise ConfigError(f"{label} must be {noun}")
    value: int | float = parameter.kind(text)
    if parameter.minimum is not None and value < parameter.minimum:
        raise ConfigError(f"{label} must be at least {parameter.minimum:g}")
    if parameter.maximum is not None and value > parameter.maximum:
        raise ConfigError(f"{label} must be at most {parameter.maximum:g}")
    return value


def _spell(value: object) -> str:
    """Write a value as `parse` reads it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
