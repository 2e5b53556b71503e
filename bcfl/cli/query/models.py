"""`bcfl model`, `bcfl fetch`, `bcfl export`: the models of a run, from the model ledger and the store."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bcfl.cli.options import JsonOption, RoundArgument, RunOption, RunsOption
from bcfl.cli.output.files import write_file
from bcfl.cli.output.printing import ether, plural, print_fields, print_json, show
from bcfl.errors import ConfigError, PayloadError

if TYPE_CHECKING:
    from bcfl.federation.query import LocalQuery
    from bcfl.protocol.fixedpoint import Model
    from bcfl.protocol.types import Block, Layout

OutOption = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="FILE", show_default=False, help="Write to this file."),
]


def model(
    number: Annotated[
        str | None, typer.Argument(metavar="[N|latest]", show_default=False, help="A round.")
    ] = None,
    run: RunOption = None,
    runs: RunsOption = None,
    as_json: JsonOption = False,
) -> None:
    """The global model after round N (0: the genesis), the latest when left out."""
    from bcfl.federation.query import opened

    with opened(run, runs) as found:
        view = model_view(found, *found.model(number))
    show(view, as_json, _print_model)


def fetch(
    cid: Annotated[str, typer.Argument(metavar="CID", help="What to fetch.")],
    output: OutOption = None,
    run: RunOption = None,
    runs: RunsOption = None,
) -> None:
    """The bytes of a CID, verified, on stdout or in a file."""
    from bcfl.federation.query import opened
    from bcfl.protocol import cid as cids

    cids.parse(cid)
    with opened(run, runs) as found:
        data = found.store.get(cid, found.max_bytes)
    if output is not None:
        write_file(output, data)
    elif sys.stdout.isatty():
        raise ConfigError(f"{plural(len(data), 'byte')} that are not text: name a file with -o, or pipe them")
    else:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def export(
    number: RoundArgument = None,
    kind: Annotated[str, typer.Option("--format", metavar="FORMAT", help="safetensors")] = "safetensors",
    output: OutOption = None,
    run: RunOption = None,
    runs: RunsOption = None,
    as_json: JsonOption = False,
) -> None:
    """The global model after round N as a file of 32-bit floats, the latest when left out."""
    from bcfl.federation.query import opened

    if kind not in FORMATS:
        raise ConfigError(f"there is no format {kind!r}: take one of {', '.join(FORMATS)}")
    with opened(run, runs) as found:
        after, block = found.model(number)
        layout, lanes = verified(found, block)
        view = model_view(found, after, block)
    target = output or Path(f"model-{after}.{kind}")
    if output is None and target.exists():
        raise ConfigError(f"{target} exists: name a file with -o")
    facts = {"round": str(after), "contract": found.contract.address, "cid": view["cid"]}
    write_file(target, FORMATS[kind](layout, lanes, found.terms.scale_bits, facts))
    if as_json:
        print_json({"file": str(target), "format": kind, **view})
    else:
        print(f"{target}: the model after round {after}, {plural(layout.parameters, 'parameter')} as float32")


def model_view(o: LocalQuery, after: int, block: Block) -> dict[str, Any]:
    """A model as the ledger names it, and what the store has of it."""
    from bcfl.protocol import payload
    from bcfl.protocol.rewards import block_hash

    cid = o.cid_of(block.cid)
    return {
        "round": after,
        "block_round": block.round,
        "root": block.root,
        "cid": cid,
        "block_hash": block_hash(block),
        "parent": block.parent,
        "leader": block.leader if block.round else None,
        "reward": block.reward,
        "parameters": o.terms.parameters,
        "bytes": None if o.layout is None else payload.size(o.layout, 32),
        "held": o.store.has(cid),
    }


def verified(o: LocalQuery, block: Block) -> tuple[Layout, Model]:
    """A block's model from the store: its CID, layout, form and root checked.

    Raises Unavailable, Corrupt or another StoreError, or PayloadError.
    """
    from bcfl.federation.layouts import layout_in
    from bcfl.protocol import merkle, payload

    data = o.model_bytes(block)
    layout = layout_in(data, o.terms.layout)
    lanes = payload.decode(data, layout, 32)
    if merkle.root(lanes, o.terms.leaf_lanes) != block.root:
        raise PayloadError(f"the model of round {block.round} in the store does not have the root on chain")
    return layout, lanes


def _print_model(view: dict[str, Any]) -> None:
    words = str(view["round"])
    if view["block_round"] != view["round"]:
        words += f" (void: the model of round {view['block_round']})"
    print_fields(
        [
            ("round", words),
            ("root", view["root"]),
            ("CID", view["cid"]),
            ("block", view["block_hash"]),
            ("parent", view["parent"]),
            ("leader", view["leader"]),
            ("reward", ether(view["reward"])),
            ("parameters", view["parameters"]),
            ("size", plural(view["bytes"], "byte") if view["bytes"] else None),
            ("in the store", view["held"]),
        ]
    )


def _safetensors(layout: Layout, lanes: Model, scale_bits: int, facts: dict[str, str]) -> bytes:
    """The tensors of a model as float32, the name of each in the layout, with `facts` as metadata."""
    from safetensors.numpy import save

    from bcfl.protocol.fixedpoint import decode

    values = decode(lanes, scale_bits)  # (parameters,)
    tensors, start = {}, 0
    for tensor in layout.tensors:
        size = 1
        for extent in tensor.shape:
            size *= extent
        tensors[tensor.name] = values[start : start + size].reshape(tensor.shape)
        start += size
    return save(tensors, {f"bcfl.{name}": fact for name, fact in facts.items()})


FORMATS: dict[str, Callable[[Layout, Model, int, dict[str, str]], bytes]] = {"safetensors": _safetensors}
