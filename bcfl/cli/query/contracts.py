"""`bcfl events`, `bcfl call`: the contract itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bcfl.cli.options import JsonOption, RunOption, RunsOption
from bcfl.cli.output.printing import Column, moment, print_fields, print_json, print_table, text_of
from bcfl.errors import ConfigError

if TYPE_CHECKING:
    from bcfl.ledger.contract import Event

Entry = Mapping[str, Any]
READS = ("view", "pure")
NONE = "0x0000000000000000000000000000000000000000"


def events(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", show_default=False, help="Events of this name only.")
    ] = None,
    from_block: Annotated[
        int, typer.Option("--from-block", metavar="N", min=0, help="The first block to read.")
    ] = 0,
    run: RunOption = None,
    runs: RunsOption = None,
    as_json: JsonOption = False,
) -> None:
    """What the contract logged, in order."""
    from bcfl.federation.query import opened

    with opened(run, runs) as found:
        read = list(found.contract.events(from_block, name=name))
    if as_json:
        print_json({"events": list(map(_event, read))})
    elif not read:
        print("no such events")
    else:
        rows = [(e.block, moment(e.timestamp), e.name, _arguments(e.args)) for e in read]
        print_table(
            [Column("block", True), Column("time (UTC)", spare=True), Column("event"), Column("arguments")],
            rows,
        )


def call(
    function: Annotated[str, typer.Argument(metavar="FUNCTION", help="A function that only reads.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[ARGS]...", show_default=False, help="Its arguments.")
    ] = None,
    run: RunOption = None,
    runs: RunsOption = None,
    as_json: JsonOption = False,
) -> None:
    """What a function of the contract answers."""
    from bcfl.federation.query import opened
    from bcfl.ledger.artifact import artifact

    given = arguments or []
    entry = readable(artifact()["abi"], function, len(given))
    values = [parse(kind["type"], text) for kind, text in zip(entry["inputs"], given, strict=True)]
    with opened(run, runs) as found:
        answer = found.contract.call(function, *values)
    result = named(entry["outputs"], answer)
    if as_json:
        print_json({"function": function, "arguments": values, "result": result})
    elif isinstance(result, dict):
        print_fields([(name, _value(value)) for name, value in result.items()])
    else:
        print(_value(result))


def readable(abi: Iterable[Entry], name: str, count: int) -> Entry:
    """The function of that name that takes `count` arguments and changes nothing; raises ConfigError."""
    functions = [entry for entry in abi if entry["type"] == "function"]
    found = [entry for entry in functions if entry["name"] == name]
    views = sorted({entry["name"] for entry in functions if entry["stateMutability"] in READS})
    if not found:
        near = get_close_matches(name, views, 1, 0.0)[0]
        raise ConfigError(f"the contract has no function {name}; the nearest that only reads is {near}")
    if found[0]["stateMutability"] not in READS:
        raise ConfigError(f"{name} changes the chain: `bcfl call` takes {', '.join(views)}")
    fitting = [entry for entry in found if len(entry["inputs"]) == count]
    if not fitting:
        raise ConfigError(f"{name} takes {_signature(found[0])}, not {count} arguments")
    return fitting[0]


def parse(kind: str, text: str) -> object:
    """An argument of an ABI type from its text; raises ConfigError."""
    try:
        if kind == "address":
            return _address(text)
        if kind.startswith("uint"):
            return _unsigned(text, int(kind[4:] or 256))
        if kind == "bytes32":
            return _digest(text)
    except ValueError:
        raise ConfigError(
            f"{text!r} is not {EXPECTED.get(kind, f'a whole number that fits {kind}')}"
        ) from None
    raise ConfigError(f"an argument of the type {kind} cannot be given on the command line")


def named(outputs: Sequence[Entry], answer: Any) -> Any:
    """What a call returned, structs by the names of their fields."""
    if len(outputs) != 1:
        return list(answer)
    fields = outputs[0].get("components")
    return {field["name"]: value for field, value in zip(fields, answer, strict=True)} if fields else answer


EXPECTED = {"address": "an address (0x and 40 digits)", "bytes32": "32 bytes (0x and 64 digits)"}


def _address(text: str) -> str:
    from bcfl.ledger.abi import address_of

    if len(text) != len(NONE) or not text.startswith("0x"):
        raise ValueError(text)
    return address_of(bytes.fromhex(text[2:]))


def _unsigned(text: str, bits: int) -> int:
    number = int(text, 0)
    if not 0 <= number < 2**bits:
        raise ValueError(text)
    return number


def _digest(text: str) -> bytes:
    digest = bytes.fromhex(text.removeprefix("0x"))
    if len(digest) != 32:
        raise ValueError(text)
    return digest


def _signature(entry: Entry) -> str:
    names = [f"{kind['type']} {kind['name']}".strip() for kind in entry["inputs"]]
    return f"({', '.join(names)})" if names else "no arguments"


def _event(event: Event) -> dict[str, Any]:
    return {
        "name": event.name,
        "args": dict(event.args),
        "block": event.block,
        "timestamp": event.timestamp,
        "transaction": event.transaction,
        "log_index": event.log_index,
    }


def _arguments(args: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={_value(value)}" for name, value in args.items())


def _value(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    return str(value) if type(value) is int else text_of(value)
