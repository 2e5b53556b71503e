"""`bcfl run`: a whole federation from the command line, and what came of it."""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bcfl.cli.folders import find_run, runs_folder
from bcfl.cli.options import config_parameters
from bcfl.cli.output.live import Lines, display, participants
from bcfl.cli.output.printing import plural, print_fields, print_json
from bcfl.config import Config
from bcfl.errors import BcflError, ConfigError, RunError
from bcfl.federation.runs import FILE, Run, latest, list_runs, new_path

if TYPE_CHECKING:
    from bcfl.federation.reports import Report

INTERRUPTED = 130
WITH_RESUME = frozenset({"rounds", "runs"})  # options that may be given with --resume


def own_parameters(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", show_default=False, help="With --resume: the run's folder or name."),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", metavar="", help="Go on with the run in DIR, or with the latest; takes --rounds too."
        ),
    ] = False,
    pairs: Annotated[
        list[str] | None,
        typer.Option("-c", metavar="KEY=VALUE", show_default=False, help="Set an option; may be repeated."),
    ] = None,
    toml: Annotated[
        Path | None,
        typer.Option(
            "--config", metavar="FILE", show_default=False, help="Read options from FILE, not bcfl.toml."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="Print one JSON object on stdout.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", metavar="", help="Show nothing while the run goes on.")
    ] = False,
) -> None:
    """The parameters of `bcfl run` that are no options of the run itself."""


def run(**given: Any) -> None:
    """Train: devices learn, miners verify and lead, the contract records every round.

    An option comes from its flag, from -c KEY=VALUE, from bcfl.toml or --config FILE, or from BCFL_KEY in the
    environment; the first of these that names it counts. Ctrl-C leaves a run that --resume continues.
    """
    own = {name: given.pop(name) for name in inspect.signature(own_parameters).parameters}
    flags = {name: value for name, value in given.items() if value is not None}
    if own["resume"]:
        path, config = _found(own, flags)
    elif own["folder"] is not None:
        raise ConfigError(f"{own['folder']} needs --resume before it; the folder of a new run is --run-dir")
    else:
        path, config = _new(own, flags)
    with display(config, path, own["quiet"]) as shown:
        report = _played(path, config, own["resume"], shown)
    if own["as_json"]:
        print_json(report.to_dict())
    else:
        _print_summary(report, config, path)


run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [*inspect.signature(own_parameters, eval_str=True).parameters.values(), *config_parameters()]
)


def _new(own: Mapping[str, Any], flags: Mapping[str, object]) -> tuple[Path, Config]:
    """The options of a new run and its folder."""
    config = Config.load(flags, own["pairs"] or (), own["toml"])
    path = config.run_dir or new_path(config.runs, datetime.now(UTC))
    return path, config.model_copy(update={"run_dir": path})


def _found(own: Mapping[str, Any], flags: Mapping[str, Any]) -> tuple[Path, Config]:
    """The run to go on with, and its options; more rounds than it began with are taken over."""
    refused = [f"--{name.replace('_', '-')}" for name in flags if name not in WITH_RESUME]
    refused += ["-c"] * bool(own["pairs"]) + ["--config"] * bool(own["toml"])
    if refused:
        raise ConfigError(f"{refused[0]} cannot be given with --resume: a run keeps what it began with")
    runs = flags.get("runs")
    path = find_run(own["folder"], runs) or latest(runs_folder(runs))
    if "rounds" not in flags:
        return path, Run.open(path, read_only=True).config
    rounds = Config.model_validate({"rounds": flags["rounds"]}).rounds
    with Run.open(path) as found:
        found.set_rounds(rounds)
        return path, found.config


def _played(path: Path, config: Config, resume: bool, shown: Lines) -> Report:
    """Play the rounds; whatever stops them says how to go on."""
    try:
        from bcfl.federation import simulation

        if resume:
            return simulation.resume(path, on_progress=shown)
        return simulation.run(config, on_progress=shown)
    except KeyboardInterrupt:
        shown.stop(f"interrupted: {_go_on(path)}")
        raise typer.Exit(INTERRUPTED) from None
    except (BcflError, OSError) as error:
        if not _began(path, resume):
            raise
        what = error.strerror if isinstance(error, OSError) else str(error)
        raise RunError(f"{what}; {_go_on(path)}") from error


def _began(path: Path, resume: bool) -> bool:
    """Whether there is something to go on with; a refusal to start leaves nothing, or another's run."""
    return not resume and (path / FILE).exists() and Run.open(path, read_only=True).contract is not None


def _go_on(path: Path) -> str:
    if not (path / FILE).exists():
        return "nothing was recorded yet, start again with `bcfl run`"
    return f"go on with `bcfl run --resume {path}`"


def _print_summary(report: Report, config: Config, path: Path) -> None:
    void = sum(found.status == "void" for found in report.rounds)
    accuracy = "-" if report.final_accuracy is None else f"{report.final_accuracy:.2%}"
    if not sys.stdout.isatty() or sys.stderr.isatty():
        print()
    print_fields(
        [
            ("accuracy", accuracy),
            ("rounds", f"{len(report.rounds)}" + (f", {void} of them void" if void else "")),
            ("rejected", _losses(report)),
            *_adversarial(report),
            (
                "gas",
                f"{report.gas_per_participant:,.0f} a round and participant ({participants(config, ' + ')})",
            ),
            ("seconds", f"{report.seconds:.1f}"),
            ("contract", report.contract),
            ("run", report.run_dir),
            ("ask it", _next_commands(report, path)),
        ]
    )


def _losses(report: Report) -> str:
    """How many updates the filters left out, and who lost most by it."""
    total = sum(len(found.accepted) + len(found.rejected) for found in report.rounds)
    losses = report.losses
    if not losses:
        return f"none of {plural(total, 'update')}"
    most, count = losses[0], sum(loss.rounds for loss in losses)
    words = (
        f"{count:,} of {plural(total, 'update')} ({count / total:.1%}), of {plural(len(losses), 'device')}"
    )
    return f"{words}; most often {most.device}, {plural(most.rounds, 'time')}"


def _adversarial(report: Report) -> list[tuple[str, str]]:
    """Who misbehaved, what they got through, and what it cost the honest ones."""
    if report.adversaries is None:
        return []
    parts = Counter((found.attack, found.role) for found in report.adversaries)
    cast = ", ".join(f"{plural(count, role)} {attack}" for (attack, role), count in parts.items())
    false = plural(report.false_rejects or 0, "update")
    false += f" of honest devices rejected, {report.false_accepts} of adversaries accepted"
    fields = [("adversaries", cast), ("mistakes", false)]
    if report.attack_success is not None:
        fields.append(("attack success", f"{report.attack_success:.2%}"))
    return fields


def _next_commands(report: Report, path: Path) -> str:
    """What to try next; `--run` where the queries would look at another run."""
    runs = list_runs(runs_folder(None))
    which = "" if runs and runs[-1].path.resolve() == path.resolve() else f" --run {path}"
    last = len(report.rounds)
    commands = (f"round {last}", f"votes {last}", "model", "export")
    return ", ".join(f"`bcfl {command}{which}`" for command in commands)
