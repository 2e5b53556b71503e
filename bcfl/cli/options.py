"""The options of the commands: one flag for every option of a run, and what all queries share."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from bcfl.config import Config
from bcfl.errors import ConfigError
from bcfl.protocol.limits import WEI_BITS

if TYPE_CHECKING:
    from bcfl.protocol.submissions import Domain
    from bcfl.roles.common.keys import Keys

# The first option of each part of `bcfl run --help`.
PANELS: Final = {
    "devices": "The run",
    "task": "What is learned",
    "scale_bits": "Numbers",
    "rule": "Rules of a round",
    "check_time": "Cross verification",
    "adversary": "Adversaries",
    "commit_seconds": "Deadlines",
    "stake": "Money (wei, or an amount such as '1.5 ether')",
    "runs": "Where",
}
MONEY: Final = frozenset({"stake", "min_stake", "vote_penalty", "leader_penalty", "reward", "pool"})
SEVERAL: Final = {"wish": "ROUND:ENGINE", "adversary": "SPEC"}  # options that may be given several times
OTHER_FLAGS: Final = {"weights": ["--from"]}  # by option: flags that mean the same
METAVARS: Final = {int: "N", float: "X", str: "NAME", Path: "PATH"}
RENAMED_FLAGS: Final = {
    "--check-effort": "--check-min-norm",
    "--no-check-effort": "--no-check-min-norm",
    "--check-split": "--check-clusters",
    "--no-check-split": "--no-check-clusters",
}
ETHER: Final = 10**18
NUMBER: Final = re.compile(r"-?\d{1,18}", re.ASCII)
ROUND_HELP: Final = "The number of a round, or latest."


def optional(flag: str, metavar: str, help_text: str) -> Any:
    """Return an option without a default of its own."""
    return typer.Option(flag, metavar=metavar, show_default=False, help=help_text)


RunOption = Annotated[
    Path | None,
    typer.Option("--run", metavar="DIR", help="The run's folder, or its name in the runs; else the latest."),
]
RunsOption = Annotated[
    Path | None, typer.Option("--runs", metavar="DIR", help="The folder that holds the runs.")
]
PairsOption = Annotated[
    list[str] | None,
    optional("-c", "KEY=VALUE", "Set an option; may be repeated."),
]
ConfigFileOption = Annotated[
    Path | None,
    optional("--config", "FILE", "Read options from FILE, not bcfl.toml."),
]
CPU: Final = "cpu"
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device", metavar="NAME", help="Where torch computes: cpu, cuda, cuda:N, mps, or auto for the best."
    ),
]
JournalsOption = Annotated[
    Path | None,
    optional("--journal", "DIR", "The miners' journals; else the run's."),
]
BundleArgument = Annotated[
    Path | None,
    typer.Argument(metavar="[BUNDLE]", show_default=False, help="A file that `bcfl bundle` has written."),
]
BlockHashOption = Annotated[
    str | None,
    optional("--block-hash", "HASH", "With BUNDLE: the hash of its last block, from somebody you trust."),
]
KeysOption = Annotated[
    list[Path] | None,
    optional(
        "--keys", "FILE", "Open what is sealed with the keys in FILE, or a disclosure; may be repeated."
    ),
]
KeyFileOption = Annotated[
    Path | None,
    optional("--key-file", "FILE", "With a disclosure: the key of `bcfl keys new` that it is sealed for."),
]
JsonOption = Annotated[bool, typer.Option("--json", metavar="", help="Print one JSON object.")]


def round_argument(metavar: str) -> Any:
    """Return the argument for a round's number, which may look like an option: `bcfl round -1`."""
    return typer.Argument(metavar=metavar, show_default=False, help=ROUND_HELP, callback=_refuse_option)


def _refuse_option(text: str | None) -> str | None:
    """Raise ConfigError for an option that the command does not know."""
    if text is not None and text.startswith("-") and not NUMBER.fullmatch(text):
        raise ConfigError(f"no such option: {text}")
    return text


RoundArgument = Annotated[str | None, round_argument("[N|latest]")]


def given_keys(files: Sequence[Path] | None, key_file: Path | None, domain: Domain) -> Keys:
    """Return the keys in the files of --keys, of one federation; raises ConfigError."""
    from bcfl.federation.keyfile import load

    if key_file is not None and not files:
        raise ConfigError("--key-file opens a disclosure: name that with --keys")
    return load(files or (), domain, key_file)


def config_parameters(helps: Mapping[str, str]) -> Iterator[inspect.Parameter]:
    """Yield a keyword parameter for every option of a run, as typer reads it; None where it is not given.

    `helps`: help texts in place of those of a run, by option.
    """
    panel = ""
    for name, field in Config.model_fields.items():
        panel = PANELS.get(name, panel)
        kind: Any = bool if field.annotation is bool else list[str] if name in SEVERAL else str
        flag = f"--{name.replace('_', '-')}"
        option = typer.Option(
            f"{flag}/--no-{flag[2:]}" if kind is bool else flag,
            *OTHER_FLAGS.get(name, ()),
            metavar="" if kind is bool else _metavar(name, field),
            help=helps.get(name) or _help(name, field),
            show_default=False,
            rich_help_panel=panel,
        )
        yield inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
        )


def runs_folder(runs: Path | None) -> Path:
    """Return the folder of the runs, from --runs or where the options of `bcfl run` come from."""
    return Config.load({"runs": runs}).runs


def _metavar(name: str, field: FieldInfo) -> str:
    """Return what stands for the value of a flag."""
    if name in MONEY:
        return "WEI"
    if name in SEVERAL:
        return SEVERAL[name]
    kinds = _kinds(field)
    return "NAME" if isinstance(kinds[0], str) else METAVARS[kinds[0] if len(kinds) == 1 else int]


def _help(name: str, field: FieldInfo) -> str:
    """Return what a flag is for, its choices where it has some, and its default."""
    words = f"{field.description}"
    kinds = [] if name in SEVERAL else _kinds(field)
    choices = f": {', '.join(map(str, kinds[:-1]))} or {kinds[-1]}" if len(kinds) > 1 else ""
    return f"{words[0].upper()}{words[1:]}{choices}.{_default(name, field)}"


def _kinds(field: FieldInfo) -> list[Any]:
    """Return the choices of a field, or its one type."""
    if get_origin(field.annotation) is Literal:
        return list(get_args(field.annotation))
    kinds = [kind for kind in get_args(field.annotation) if kind is not type(None)] or [field.annotation]
    return list(get_args(kinds[0])) if get_origin(kinds[0]) is Literal else kinds


def _default(name: str, field: FieldInfo) -> str:
    """Return the default as a flag's help says it; the description says what None means."""
    value = field.default
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return f" (default: {'on' if value else 'off'})"
    if name in MONEY and value < 2**WEI_BITS:
        value = f"{value / ETHER:g} ether"
    return f" (default: {value})"
