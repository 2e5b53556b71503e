"""`bcfl model`, `bcfl fetch`, `bcfl export`: the models of a run, from the model ledger and the store."""

from __future__ import annotations

import sys
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from bcfl.cli.options import JsonOption, RoundArgument, optional
from bcfl.cli.output.files import write_file
from bcfl.cli.output.printing import ether, plural, print_fields, print_json, show
from bcfl.cli.output.terminal import say
from bcfl.cli.query.target import QueryTarget
from bcfl.errors import ConfigError

if TYPE_CHECKING:
    from bcfl.federation.query import Query
    from bcfl.federation.views.model import ModelView
    from bcfl.learning.kinds import AnyTask
    from bcfl.protocol.types import Exponent

FORMATS: Final = ("safetensors", "peft")

OutOption = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="FILE", show_default=False, help="Write to this file."),
]


TaskOption = Annotated[
    str | None,
    optional("--task", "TASK", "The task, or package.module:attribute; that of the run when left out."),
]


def model(
    target: QueryTarget,
    number: RoundArgument = None,
    as_json: JsonOption = False,
) -> None:
    """Show the global model after round N (0: the genesis), the latest when left out."""
    with target.open() as query:
        view = query.model_view(number)
    show(view, as_json, _print_model)


def fetch(
    target: QueryTarget,
    cid: Annotated[str, typer.Argument(metavar="CID", help="The CID to fetch.")],
    output: OutOption = None,
) -> None:
    """Write the bytes of a CID, verified, to stdout or a file."""
    from bcfl.protocol import cid as cids

    cids.parse(cid)
    with target.open() as query:
        data = query.store.get(cid, query.max_bytes)
    if output is not None:
        write_file(output, data)
    elif sys.stdout.isatty():
        raise ConfigError(f"{plural(len(data), 'byte')} that are not text: name a file with -o, or pipe them")
    else:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def export(
    target: QueryTarget,
    number: RoundArgument = None,
    kind: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="safetensors, or peft: a folder with adapters.")
    ] = "safetensors",
    output: OutOption = None,
    task: TaskOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the global model after round N to a file of 32-bit floats, the latest when left out.

    `load_state_dict` of the task's own module takes the file. Without its task, which a deployed federation
    does not tell, the file lacks tied weights under their second name, and buffers of integers. Of a model
    that PEFT has made, --format peft writes the adapters to a folder that PeftModel.from_pretrained takes.
    """
    from bcfl.federation.views.model import model_view, to_safetensors, write_adapters

    if kind not in FORMATS:
        raise ConfigError(f"there is no format {kind!r}: take one of {', '.join(FORMATS)}")
    with target.open() as query:
        after, block = query.find_model(number)
        layout, lanes = query.read_model(block)
        view = model_view(query, after, block)
        module_task = _task_of(query, task)
    if kind == "peft" and module_task is None:
        raise ConfigError("adapters are written as the task's own module has them: name it with --task")
    path = output or Path(f"model-{after}.{kind}")
    if output is None and path.exists():
        raise ConfigError(f"{path} exists: name a file with -o")
    facts = {"round": str(after), "contract": query.contract.address, "cid": view["cid"]}
    if kind == "peft" and module_task is not None:
        write_adapters(path, layout, lanes, query.terms.scale_bits, module_task)
    else:
        write_file(path, to_safetensors(layout, lanes, query.terms.scale_bits, facts, module_task))
    if as_json:
        print_json({"file": str(path), "format": kind, **view})
    else:
        say(f"{path}: the model after round {after}, {plural(layout.parameters, 'parameter')} as float32")


def _task_of(query: Query, name: str | None) -> AnyTask | None:
    """Return the task of a name, or that of the run, where this machine has it."""
    try:
        task = query.task(name)
    except ConfigError as error:
        if name is not None:
            raise
        say(f"note: {error}; the file has only what was learned together", to_stderr=True)
        return None
    if task is None:
        say("note: the file has only what was learned together; --task adds the rest", to_stderr=True)
    return task


def _print_model(view: ModelView) -> None:
    words = str(view["round"])
    if view["block_round"] != view["round"]:
        words += f" (void: the model of round {view['block_round']})"
    print_fields(
        [
            ("round", words),
            ("root", view["root"]),
            ("CID", view["cid"]),
            ("other CIDs", ", ".join(view["other_cids"]) or None),
            ("block", view["block_hash"]),
            ("parent", view["parent"]),
            ("leader", view["leader"]),
            ("reward", ether(view["reward"])),
            ("parameters", view["parameters"]),
            ("exponents", ", ".join(starmap(_exponent, view["exponents"].items())) or None),
            ("size", plural(view["bytes"], "byte") if view["bytes"] else None),
            ("in the store", view["held"]),
            *([("sealed", "for the members of this federation")] if view["sealed"] else []),
        ]
    )


def _exponent(name: str, exponent: Exponent) -> str:
    if isinstance(exponent, tuple):
        return f"{name} {min(exponent)} to {max(exponent)}, by entry"
    return f"{name} {exponent}"
