"""`bcfl events`, `bcfl call`, `bcfl abi`: the contract itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from bcfl.cli.options import JsonOption
from bcfl.cli.output.files import write_file
from bcfl.cli.output.printing import (
    Column,
    clock_name,
    format_time,
    print_fields,
    print_json,
    print_table,
    text_of,
)
from bcfl.cli.output.terminal import say
from bcfl.cli.query.target import QueryTarget


def events(
    target: QueryTarget,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", show_default=False, help="Events of this name only.")
    ] = None,
    from_block: Annotated[
        int, typer.Option("--from-block", metavar="N", min=0, help="The first block to read.")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Show what the contract logged, in order."""
    from bcfl.federation.views.call import event_view

    with target.open() as query:
        views = [event_view(event) for event in query.contract.events(from_block, name=name)]
    if as_json:
        print_json({"events": views})
    elif not views:
        say("no such events")
    else:
        rows = [(v["block"], format_time(v["timestamp"]), v["name"], _arguments(v["args"])) for v in views]
        print_table(
            [
                Column("block", True),
                Column(f"time ({clock_name()})", spare=True),
                Column("event"),
                Column("arguments"),
            ],
            rows,
        )


def call(
    target: QueryTarget,
    function: Annotated[str, typer.Argument(metavar="FUNCTION", help="A function that only reads.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[ARGS]...", show_default=False, help="Its arguments.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a function of the contract returns."""
    from bcfl.federation.views.call import call_view, parse_call

    entry, values = parse_call(function, arguments or [])
    with target.open() as query:
        view = call_view(query.contract, entry, values)
    result = view["result"]
    if as_json:
        print_json(view)
    elif isinstance(result, dict):
        print_fields([(name, _value(value)) for name, value in result.items()])
    else:
        say(_value(result))


def abi(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", show_default=False, help="The file; else stdout."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the contract's ABI as JSON, for web3.py, ethers, cast and block explorers."""
    from bcfl.ledger.artifact import artifact

    entries = artifact()["abi"]
    text = json.dumps(entries, indent=2)
    if output is None:
        say(text)
        return
    write_file(output, f"{text}\n".encode())
    if as_json:
        print_json({"file": str(output), "entries": len(entries)})
    else:
        say(f"{output}: {len(entries)} entries")


def _arguments(args: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={_value(value)}" for name, value in args.items())


def _value(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    return str(value) if type(value) is int else text_of(value)
