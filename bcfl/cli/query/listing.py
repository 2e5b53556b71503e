"""`bcfl ls`, `bcfl adversaries`, `bcfl version`: what there is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bcfl.adversaries import catalog
from bcfl.cli.options import JsonOption, RunsOption, runs_folder
from bcfl.cli.output.printing import Column, aligned, print_folded, print_json, print_table
from bcfl.cli.output.terminal import say
from bcfl.federation.runs import list_runs
from bcfl.federation.views.run import RunView, run_view


def ls(runs: RunsOption = None, as_json: JsonOption = False) -> None:
    """List the runs, the oldest first, and how far each has come."""
    folder = runs_folder(runs)
    views = [run_view(run) for run in list_runs(folder)]
    if as_json:
        print_json({"runs": views})
    elif not views:
        say(f"no runs in {folder} yet: start one with `bcfl run`")
    else:
        columns = [Column("run"), Column("started", spare=True), Column("task"), Column("devices", True)]
        columns += [
            Column("miners", True),
            Column("mode", spare=True),
            Column("rounds", True),
            Column("state"),
        ]
        print_table(columns, list(map(_row, views)))


def adversaries(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", show_default=False, help="Only this one.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the attacks of `bcfl run --adversary NAME:SHARE[:KEY=VALUE,...]`, with their parameters."""
    attacks = [catalog.describe(each) for each in ((name,) if name else catalog.NAMES)]
    if as_json:
        print_json({"adversaries": [_attack_view(each) for each in attacks]})
        return
    for each in attacks:
        headings = [Column("parameter"), Column("default"), Column("meaning")]
        rows = [(p.name, _plain(p.default), _meaning(p)) for p in each.parameters]
        print_folded(f"{each.name} ({each.role}): {each.summary}", 4)
        print_folded(f"    {each.paper}", 4)
        head, *lines = aligned(headings, rows)
        for line in lines:
            print_folded(f"    {line}", 4 + head.index("meaning"))


def version(as_json: JsonOption = False) -> None:
    """Print the version of bcfl."""
    import platform

    from bcfl import __version__

    if as_json:
        print_json({"bcfl": __version__, "python": platform.python_version()})
    else:
        say(f"bcfl {__version__}")


def _attack_view(attack: catalog.Description) -> dict[str, Any]:
    parameters = [
        {
            "name": each.name, "kind": each.kind.__name__, "default": each.default, "meaning": each.meaning,
            "choices": list(each.choices), "least": each.minimum, "most": each.maximum,
        }
        for each in attack.parameters
    ]  # fmt: skip
    return {
        "name": attack.name,
        "of": attack.role,
        "summary": attack.summary,
        "paper": attack.paper,
        "parameters": parameters,
    }


def _meaning(parameter: catalog.Parameter) -> str:
    choices = f" ({', '.join(parameter.choices)})" if parameter.choices else ""
    return parameter.meaning + choices


def _plain(value: object) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _row(view: RunView) -> list[object]:
    start = view["created"].replace("T", " ").removesuffix("+00:00")
    rounds = f"{view['rounds']}/{view['rounds_wanted']}" if view["rounds_wanted"] else None
    name = Path(view["run_dir"]).name
    if view["error"]:
        return [name, start, None, None, None, None, None, f"damaged: {view['error']}"]
    mode = f"{view['mode']}, {view['engine']}"
    return [name, start, view["task"], view["devices"], view["miners"], mode, rounds, view["state"]]
