"""Read options from their sources, and say what is wrong with one that is of no use."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ValidationError

from bcfl.errors import ConfigError
from bcfl.toml import read_toml

FILE: Final = Path("bcfl.toml")
PREFIX: Final = "BCFL_"
PLACES: Final = frozenset({"BCFL_NETWORK", "BCFL_STORE", "BCFL_KEYSTORE"})  # where things are, no options
# Former names of options. A user is told the new one; what was stored with a former name is still read.
RENAMED: Final = {"check_effort": "check_min_norm", "check_split": "check_clusters"}
NAMED: Final = re.compile(r"(?<![\w,=])([a-z_]+)=\S*[^\s,:]")


class Given(NamedTuple):
    """One option as somebody gave it, with the words that say where."""

    name: str
    value: object
    source: str


def from_environment(env: Mapping[str, str]) -> list[Given]:
    """Return the options in the environment."""
    return [
        Given(key.removeprefix(PREFIX).lower(), env[key], f"{key} in the environment")
        for key in sorted(env)
        if key.startswith(PREFIX) and key not in PLACES
    ]


def from_file(path: Path | None) -> list[Given]:
    """Return the options of a file; None: of `bcfl.toml`, where there is one."""
    if path is None:
        if not FILE.exists():
            return []
        path = FILE
    table = read_toml(path, "write one key = value a line")
    table.pop("networks", None)  # for whoever deploys
    for key, value in table.items():
        if isinstance(value, dict):
            raise ConfigError(
                f"[{key}] in {path} is a table: write its keys above all tables, without a heading"
            )
    return [Given(key, value, str(path)) for key, value in table.items()]


def from_pairs(pairs: Sequence[str]) -> list[Given]:
    """Return the options written as `key=value`."""
    options = []
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"-c {_short(pair)} is not key=value: write, for example, -c rounds=3")
        options.append(Given(key.strip(), value.strip(), "-c"))
    return options


def from_flags(flags: Mapping[str, object]) -> list[Given]:
    """Return the options that are flags of a command; those given several times are one with blanks."""
    return [
        Given(name, " ".join(value) if isinstance(value, list) else value, f"--{name.replace('_', '-')}")
        for name, value in flags.items()
        if value is not None
    ]


def unknown(model: type[BaseModel], name: str, source: str) -> str:
    """Return the refusal of a key that is no option: its new name, or the nearest option.

    Each is spelled as that source spells it.
    """
    key = name.lower().replace("-", "_")
    if key in RENAMED:
        return f"{_short(name)} ({source}) is now {_spelled(RENAMED[key], source)}"
    nearest = get_close_matches(key, model.model_fields, n=1, cutoff=0.0)[0]
    meaning = model.model_fields[nearest].description
    return (
        f"{_short(name)} ({source}) is not an option; the nearest is {_spelled(nearest, source)} [{meaning}]"
    )


def _spelled(name: str, source: str) -> str:
    """Return an option's name as a source spells it."""
    return PREFIX + name.upper() if source.startswith(PREFIX) else name


def with_new_names(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored options under the names that they have now."""
    return {RENAMED.get(name, name): value for name, value in options.items()}


def explain(model: type[BaseModel], error: ValidationError, sources: Mapping[str, str]) -> str:
    """Return the first thing wrong, as one line: key, value, source, and what it must be."""
    first = error.errors(include_url=False)[0]
    if not first["loc"]:
        reason = _reason(first["type"], first["msg"], first.get("ctx", {}))
        return NAMED.sub(lambda m: f"{m[0]} ({sources[m[1]]})" if m[1] in sources else m[0], reason)
    name = str(first["loc"][0])
    source = sources.get(name, "an argument of Config")
    if first["type"] == "extra_forbidden":
        return unknown(model, name, source)
    reason = _reason(first["type"], first["msg"], first.get("ctx", {}))
    return f"{name}={_short(first['input'])} ({source}) {reason} [{model.model_fields[name].description}]"


def _reason(kind: str, message: str, context: Mapping[str, Any]) -> str:
    """Return what pydantic's kind of error asks for, in plain words."""
    if kind == "value_error":
        return str(context["error"])
    if kind.startswith("int_"):
        return "must be a whole number"
    if kind.startswith("float_"):
        return "must be a number"
    if kind.startswith("bool_"):
        return "must be true or false"
    if kind == "literal_error":
        return f"must be one of {context['expected']}"
    words = message.replace("Input should", "must").replace("String should", "must")
    return words.replace("greater than or equal to", "at least").replace("less than or equal to", "at most")


def _short(value: object) -> str:
    """Return a value short enough for one line."""
    text = value if isinstance(value, str) and value.isprintable() and value else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
