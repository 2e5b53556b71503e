"""`bcfl ls`, `bcfl adversaries`, `bcfl tasks`, `bcfl examples`, `bcfl version`: what there is."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any

import typer

from bcfl.adversaries import catalog
from bcfl.cli.options import JsonOption, RunsOption, runs_folder
from bcfl.cli.output.files import write_file
from bcfl.cli.output.printing import Column, aligned, print_folded, print_json, print_table
from bcfl.cli.output.terminal import say
from bcfl.errors import ConfigError
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


def tasks(as_json: JsonOption = False) -> None:
    """List the tasks that come with bcfl, and the models that each can train."""
    from bcfl.learning.tasks import BUILT_IN, MODEL_NAMES

    if as_json:
        names = [{"name": task.name, "description": task.description} for task in BUILT_IN.values()]
        print_json({"tasks": names, "models": list(MODEL_NAMES)})
        return
    rows = [(task.name, task.description, _models(task.shape)) for task in BUILT_IN.values()]
    print_table([Column("task"), Column("data"), Column("models (--model)")], rows)
    say("\nYour own: --task package.module:attribute, or --flower DIR for a Flower app")


def examples(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", show_default=False, help="Where to; else ./examples.")
    ] = Path("examples"),
    as_json: JsonOption = False,
) -> None:
    """Write the examples that come with bcfl: a task, a device, a miner, a query, a deployment."""
    files = {path.name: path for path in _examples().iterdir() if path.name.endswith(".py")}
    existing = [name for name in files if (folder / name).exists()]
    if existing:
        raise ConfigError(f"{folder / min(existing)} exists: name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in files.items():
        write_file(folder / name, path.read_bytes())
    if as_json:
        print_json({"files": [str(folder / name) for name in sorted(files)]})
    else:
        say("\n".join(str(folder / name) for name in sorted(files)))


def _examples() -> Traversable:
    """Return the folder of the examples, in a wheel inside the package, in a checkout beside it."""
    packaged = resources.files("bcfl") / "examples"
    return packaged if packaged.is_dir() else Path(str(resources.files("bcfl"))).parent / "examples"


def version(as_json: JsonOption = False) -> None:
    """Print the version of bcfl."""
    import platform

    from bcfl import __version__

    if as_json:
        print_json({"bcfl": __version__, "python": platform.python_version()})
    else:
        say(f"bcfl {__version__}")


def _models(shape: tuple[int, ...] | None) -> str:
    """Return the models for samples of a shape; convolutions need pictures."""
    from bcfl.learning.tasks import MODEL_NAMES

    return ", ".join(name for name in MODEL_NAMES if name != "cnn" or len(shape or ()) > 1)


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
