"""`bcfl evaluate`: how the global model does on a party's own data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bcfl.cli.options import CPU, DeviceOption, JsonOption, optional
from bcfl.cli.output.display import open_display
from bcfl.cli.output.printing import Column, metric_text, plural, print_json, print_table
from bcfl.cli.output.terminal import say
from bcfl.cli.query.target import QueryTarget
from bcfl.errors import ConfigError, StoreError


def evaluate(
    target: QueryTarget,
    data: Annotated[
        Path | None, optional("--data", "DIR", "The folder of your own data, which the task's `load` gets.")
    ] = None,
    number: Annotated[
        str | None, optional("--round", "N", "The model after this round, 0: the genesis; else the latest.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--rounds", metavar="", help="The model after every round, from the genesis on.")
    ] = False,
    training: Annotated[
        bool, typer.Option("--train", metavar="", help="Take your training samples, not your test samples.")
    ] = False,
    task: Annotated[
        str | None, optional("--task", "NAME", "The learning task; else that of the run or the deployment.")
    ] = None,
    flower: Annotated[
        Path | None,
        optional("--flower", "DIR", "The folder of the Flower app, where the federation has one."),
    ] = None,
    node_config: Annotated[
        str | None, optional("--node-config", "PAIRS", "The app's node config of your data: 'key=value ...'.")
    ] = None,
    torch_device: DeviceOption = CPU,
    as_json: JsonOption = False,
) -> None:
    """Evaluate the global model on your own data, which stay where they are.

    The model is read from the store and verified; the data are the test samples of the folder --data.
    """
    from bcfl.federation.evaluation import evaluate as evaluate_model
    from bcfl.federation.evaluation import own_data
    from bcfl.learning.accelerators import choose

    if every and number is not None:
        raise ConfigError("--round and --rounds exclude each other: give one of them")
    options = {"data": data, "task": task, "flower": flower, "node_config": node_config}
    flags = {name: value for name, value in options.items() if value is not None}
    views: list[dict[str, Any]] = []
    chosen = choose(torch_device)
    with open_display(spins=True) as display, target.open() as query:
        display.status("reading the data")
        own = own_data(query, flags, training=training, device=chosen)
        last, _ = query.find_model(number)
        for index in range(last + 1) if every else (last,):
            display.status(f"round {index} of {last}: {plural(own.samples, f'{own.part} sample')}")
            try:
                views.append(evaluate_model(query, own, index))
            except StoreError as error:
                if not every:
                    raise
                display.line(f"round {index} is left out: {error}")
    if as_json:
        print_json({"task": own.task, "part": own.part, "samples": own.samples, "rounds": views})
        return
    say(f"{own.task}: {plural(own.samples, f'{own.part} sample')}")
    _print(views)


def _print(views: list[dict[str, Any]]) -> None:
    """Print a line for each model, and whose it is where its round was void."""
    names = [name for name in (views[0] if views else ()) if name not in ("round", "block_round", "root")]
    rows = [[view["round"], *(_text(name, view[name]) for name in names), _note(view)] for view in views]
    print_table([Column("round", True), *(Column(name, True) for name in names), Column("")], rows)


def _text(name: str, value: float | None) -> str | None:
    if value is None:
        return None
    return metric_text(name, value)


def _note(view: dict[str, Any]) -> str:
    return "" if view["round"] == view["block_round"] else f"void: the model of round {view['block_round']}"
