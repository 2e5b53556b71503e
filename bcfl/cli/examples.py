"""Give each command its examples, and print its help: `bcfl help COMMAND`."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperCommand
from typer.models import ArgumentInfo

from bcfl.cli.output.terminal import say
from bcfl.errors import ConfigError

if TYPE_CHECKING:
    from click import Context, HelpFormatter

# By command: what one types, most usual first.
EXAMPLES: Final = {
    "run": (
        "bcfl run --devices 6 --miners 3 --rounds 5",
        "bcfl run --task fashion-mnist --model cnn --workers 2",
        "bcfl run --adversary sign-flip:0.3 --seed 1",
        "bcfl run --resume --rounds 20",
    ),
    "ls": ("bcfl ls", "bcfl ls --json"),
    "round": ("bcfl round", "bcfl round 3 --run runs/20260101-120000-abcd", "bcfl round 3 --json"),
    "model": ("bcfl model", "bcfl model 0"),
    "leader": ("bcfl leader", "bcfl leader 3"),
    "device": ("bcfl device 0", "bcfl device 0x1234…cdef"),
    "miner": ("bcfl miner 0",),
    "votes": ("bcfl votes", "bcfl votes 3"),
    "events": ("bcfl events Finalized", "bcfl events --from-block 100 --json"),
    "call": ("bcfl call round_clock", "bcfl call pool"),
    "abi": ("bcfl abi -o federation.json",),
    "fetch": ("bcfl fetch CID -o model.bin",),
    "export": ("bcfl export -o model.safetensors", "bcfl export 3 --task digits"),
    "evaluate": ("bcfl evaluate --data my-data --task mytask:task",),
    "audit": (
        "bcfl audit",
        "bcfl audit training.bundle --block-hash 0x...",
        "bcfl audit training.bundle --keys round-3.disclosure --key-file auditor.key",
    ),
    "bundle": ("bcfl bundle -o training.bundle",),
    "disclose": ("bcfl disclose 3 --to x25519=KEY -o round-3.disclosure",),
    "adversaries": ("bcfl adversaries sign-flip",),
    "tasks": ("bcfl tasks",),
    "examples": ("bcfl examples",),
    "deploy": (
        "bcfl deploy --network local --devices 6 --rounds 50 --register devices.txt",
        "bcfl deploy --network local --task hospital:xray --max-samples 20000",
    ),
    "fund": ("bcfl fund '5 ether' --network local",),
    "verify-contract": ("bcfl verify-contract federation --network local",),
    "register-devices": ("bcfl register-devices devices.txt --network local",),
    "up": ("bcfl up --devices 4 --miners 3 --rounds 5",),
    "status": ("bcfl status --network local",),
    "watch": ("bcfl watch --network local", "bcfl watch --network local --challenge --account 0"),
    "doctor": ("bcfl doctor --network local",),
    "chain up": ("bcfl chain up", "bcfl chain up --anvil"),
    "account new": ("bcfl account new",),
    "keys new": ("bcfl keys new auditor.key",),
    "keys fetch": ("bcfl keys fetch --network local --account 1 -o keys.json",),
    "start device": ("bcfl start device --network local --account 0 --data my-data",),
    "start miner": ("bcfl start miner --network local --account 1 --stake '2 ether'",),
    "start round": ("bcfl start round --network local --account 0 --miners 3",),
}


class HelpfulCommand(TyperCommand):
    """A command whose help says what its arguments are.

    With click from 8.5 on, typer up to 0.20, which Flower asks for, loses these words.
    """

    def format_help(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the help, and put the words for arguments back first where they are gone."""
        parameters = inspect.signature(self.callback, eval_str=True).parameters if self.callback else {}
        for argument in self.params:
            parameter = parameters.get(argument.name or "")
            infos = getattr(parameter and parameter.annotation, "__metadata__", ())
            for info in infos:
                if isinstance(info, ArgumentInfo) and not getattr(argument, "help", None):
                    argument.help = info.help
        super().format_help(ctx, formatter)


def with_examples(app: typer.Typer, path: str = "") -> None:
    """Put the examples at the end of the help of each command of `app`, whose own name is `path`."""
    for command in app.registered_commands:
        command.cls = HelpfulCommand
        name = f"{path} {command.name or getattr(command.callback, '__name__', '')}".strip()
        if lines := EXAMPLES.get(name):
            command.epilog = "Examples:\n\n" + "\n\n".join(lines)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            with_examples(group.typer_instance, f"{path} {group.name}".strip())


def help_(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[COMMAND]...", show_default=False, help="Of this command; else of all."),
    ] = None,
) -> None:
    """Print the help of a command, with examples."""
    parent = context.find_root()
    command: Any = parent.command
    for word in words or ():
        found = command.get_command(parent, word) if hasattr(command, "get_command") else None
        if found is None:
            names = f": there is {', '.join(command.list_commands(parent))}" if parent.parent is None else ""
            raise ConfigError(f"there is no command {word!r}{names}")
        parent = typer.Context(found, parent=parent, info_name=word, max_content_width=110)
        command = found
    say(command.get_help(parent))
