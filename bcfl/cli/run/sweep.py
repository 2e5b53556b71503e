"""`bcfl sweep`: a run for every combination of a grid of options, and what they come to over the seeds."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from bcfl.cli.options import JsonOption, optional
from bcfl.cli.output.display import open_display
from bcfl.cli.output.files import write_file
from bcfl.cli.output.printing import Column, plural, print_json, print_table
from bcfl.cli.output.terminal import say
from bcfl.cli.run.stopping import stopped_by_signals

if TYPE_CHECKING:
    from bcfl.federation.sweeps import SweepView, Trial

FOLDER: Final = Path("sweeps")
INTERRUPTED, FAILED = 130, 1  # exit codes


def sweep(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="TOML: options of all runs, and lists of values in [grid].")
    ],
    folder: Annotated[
        Path | None, optional("--dir", "DIR", "Where everything is kept; else sweeps/NAME of the file.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", metavar="N", help="Runs that go on side by side.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Run every combination of options in FILE, and sum up over the seeds: sweep.html, .csv and .json.

    Started again, it goes on: what has a result is not run again. A run that fails does not stop the others;
    then the exit code is 1.
    """
    from bcfl.federation.sweeps import Sweep

    path = FOLDER / file.stem if folder is None else folder
    plan = Sweep.load(file, path)
    total = len(plan.trials)
    with stopped_by_signals(), open_display(spins=True) as display:
        for oddity in filter(None, (trial.oddity for trial in plan.trials)):
            display.line(f"{oddity}; it is made again")

        def tell(trial: Trial, done: int) -> None:
            words = ", ".join(f"{name}={value}" for name, value in trial.values)
            ending = "done" if trial.result is not None else f"failed: {trial.error or trial.oddity}"
            display.line(f"{done} of {total}  {words}  {ending}")

        display.status(f"{plural(total, 'run')}, {jobs} at a time")
        try:
            plan.run(jobs, tell)
        except KeyboardInterrupt:
            display.line(f"interrupted: go on with `bcfl sweep {file} --dir {path}`")
            raise typer.Exit(INTERRUPTED) from None
    view = plan.view()
    _write(view, path)
    if as_json:
        print_json(view)
    else:
        _print(view, path)
    if any(trial["state"] == "failed" for trial in view["trials"]):
        raise typer.Exit(FAILED)


def _write(view: SweepView, path: Path) -> None:
    """Write page, table and JSON into the folder of the sweep."""
    from bcfl import __version__
    from bcfl.federation.documents.sweep_page import to_csv, to_html
    from bcfl.pages.texts import json_text

    made = f"bcfl {__version__}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    write_file(path / "sweep.html", to_html(view, made).encode())
    write_file(path / "sweep.csv", to_csv(view).encode())
    write_file(path / "sweep.json", (json_text(view, indent=1) + "\n").encode())


def _print(view: SweepView, path: Path) -> None:
    from bcfl.federation.documents.sweep_page import spread_text

    columns = [*(Column(name) for name in view["varied"]), Column("runs", True)]
    columns += [Column(name, True) for name in view["figures"]]
    rows = [
        [
            *cell["values"].values(),
            cell["trials"] - cell["failed"],
            *(spread_text(name, cell["figures"].get(name)) for name in view["figures"]),
        ]
        for cell in view["cells"]
    ]
    print_table(columns, rows)
    say(f"mean ± standard deviation over the seeds; {path / 'sweep.html'} has the curves")
