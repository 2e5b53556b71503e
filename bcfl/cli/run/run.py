"""`bcfl run`: a whole federation from the command line, and what came of it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from bcfl import garbage
from bcfl.cli.groups import grouped, with_flags
from bcfl.cli.options import CPU, ConfigFileOption, DeviceOption, PairsOption, runs_folder
from bcfl.cli.output.challenges import challenge_content, challenge_fields
from bcfl.cli.output.committee import committee_fields, warn
from bcfl.cli.output.printing import metric_text, plural, print_fields, print_json
from bcfl.cli.output.run_display import RunDisplay, open_run_display, participants
from bcfl.cli.output.terminal import say
from bcfl.cli.run.stopping import stopped_by_signals
from bcfl.config import Config
from bcfl.errors import BcflError, ConfigError, RunError
from bcfl.federation.kept_memory import keep_freed_memory
from bcfl.federation.runs import FILE, Run, find_run, latest, list_runs, new_path

if TYPE_CHECKING:
    from bcfl.federation.reports import Report
    from bcfl.federation.views.committee import CommitteeView

INTERRUPTED: Final = 130  # exit codes
UNLEARNED: Final = 3
SHORT: Final = {"weights": "from"}  # options that are known by another flag
WITH_RESUME: Final = frozenset({"rounds", "runs"})  # options that may be given with --resume


@dataclass(frozen=True)
class SourceOptions:
    """Where the options of a run come from: an earlier run, pairs, or a file."""

    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", show_default=False, help="With --resume: the run's folder or name."),
    ] = None
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", metavar="", help="Go on with the run in DIR, or with the latest; takes --rounds too."
        ),
    ] = False
    pairs: PairsOption = None
    toml: ConfigFileOption = None

    def load(self, flags: Mapping[str, Any]) -> tuple[Path, Config]:
        """Return the folder and the options of the run; raises ConfigError or RunError."""
        if self.resume:
            return self._resumed(flags)
        if self.folder is not None:
            raise ConfigError(f"{self.folder} needs --resume before it; the folder of a new run is --run-dir")
        config = Config.load(flags, self.pairs or (), self.toml)
        path = config.run_dir or new_path(config.runs, datetime.now(UTC))
        return path, config.model_copy(update={"run_dir": path})

    def _resumed(self, flags: Mapping[str, Any]) -> tuple[Path, Config]:
        """Return the run to go on with, and its options; more rounds than it began with are taken over."""
        conflicts = [
            f"--{SHORT.get(name, name).replace('_', '-')}" for name in flags if name not in WITH_RESUME
        ]
        conflicts += ["-c"] * bool(self.pairs) + ["--config"] * bool(self.toml)
        if conflicts:
            raise ConfigError(f"{conflicts[0]} cannot be given with --resume: a run keeps what it began with")
        runs = runs_folder(flags.get("runs"))
        path = find_run(self.folder, runs) or latest(runs)
        if "rounds" not in flags:
            return path, Run.open(path, read_only=True).config
        rounds = Config.flag("rounds", flags["rounds"])
        with Run.open(path) as opened_run:
            opened_run.set_rounds(rounds)
            return path, opened_run.config


@dataclass(frozen=True)
class ComputeOptions:
    """Where a run computes, which is no option of the federation."""

    torch_device: DeviceOption = CPU
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", metavar="N", help="Processes in which devices and miners train; with --ray: at most."
        ),
    ] = None
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="ADDRESS",
            help="Train on a Ray cluster: HOST:PORT, auto, ray://HOST:PORT, or local for one of its own.",
        ),
    ] = None

    def arguments(self) -> dict[str, Any]:
        """Return them as `bcfl.run` takes them."""
        return {"device": self.torch_device, "workers": self.workers, "ray": self.ray}


@with_flags()
@grouped
def run(
    source: SourceOptions,
    flags: Mapping[str, Any],
    compute: ComputeOptions,
    logs: Annotated[
        list[str] | None,
        typer.Option(
            "--log",
            metavar="KIND:PATH",
            show_default=False,
            help="Write each round to tensorboard:DIR, csv:FILE or jsonl:FILE too; may be repeated.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="Print one JSON object on stdout.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", metavar="", help="Show nothing while the run goes on.")
    ] = False,
) -> None:
    """Train: devices learn, miners verify and lead, the contract records every round.

    An option comes from its flag, from -c KEY=VALUE, from bcfl.toml or --config FILE, or from BCFL_KEY in the
    environment; the first of these that names it counts. Ctrl-C or SIGTERM leaves a run that --resume
    continues. A run in which nothing was learned, or whose last model has a loss that is no finite number,
    says so and ends with exit code 3.
    """
    from bcfl.federation.logbooks import open_logbooks, several
    from bcfl.federation.views.committee import run_committee

    path, config = source.load(flags)
    keep_freed_memory()
    committee = run_committee(config)
    warn(committee)
    with (
        stopped_by_signals(),
        open_logbooks(logs or (), resumed=source.resume) as observers,
        open_run_display(config, path, quiet) as display,
    ):
        arguments = {"on_progress": several(display, *observers)} | compute.arguments()
        report = _play(path, config, source.resume, display, **arguments)
    if as_json:
        extra = {} if committee is None else {"committee": committee}
        print_json(report.to_dict() | challenge_content(config.window) | extra)
    else:
        _print_summary(report, config, path, committee)
    for words in (report.fit_warning, report.pay_warning):
        if words is not None:
            say(f"warning: {words}", to_stderr=True)
    if report.warning is not None:
        say(f"warning: {report.warning}", to_stderr=True)
        raise typer.Exit(UNLEARNED)


def _play(path: Path, config: Config, resume: bool, display: RunDisplay, **compute: Any) -> Report:
    """Play the rounds, computed as `compute` says; an error that stops them says how to go on."""
    try:
        with garbage.loading():  # before there is anything of the user's: none of that may be set aside
            import bcfl.ledger.devnet.evm  # noqa: F401
            from bcfl.federation import simulation

        if resume:
            return simulation.resume(path, **compute)
        return simulation.run(config, **compute)
    except KeyboardInterrupt:
        display.stop(f"interrupted: {_next_step(path)}")
        raise typer.Exit(INTERRUPTED) from None
    except (BcflError, OSError) as error:
        if not _has_begun(path, resume):
            raise
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise RunError(f"{reason}; {_next_step(path)}") from error


def _has_begun(path: Path, resume: bool) -> bool:
    """Whether there is something to go on with; a refusal to start leaves nothing, or another's run."""
    return not resume and (path / FILE).exists() and Run.open(path, read_only=True).contract is not None


def _next_step(path: Path) -> str:
    """Return how to go on with a run that was stopped."""
    if not (path / FILE).exists():
        return "nothing was recorded yet, start again with `bcfl run`"
    return f"go on with `bcfl run --resume {quote(str(path))}`"


def _print_summary(report: Report, config: Config, path: Path, committee: CommitteeView | None) -> None:
    void = sum(round_.status == "void" for round_ in report.rounds)
    if not sys.stdout.isatty() or sys.stderr.isatty():
        say()
    print_fields(
        [
            *_learned(report),
            ("rounds", f"{len(report.rounds)}" + (f", {void} of them void" if void else "")),
            ("rejected", _losses(report)),
            *_fit(report),
            *_adversarial(report),
            *([] if report.privacy is None else [("privacy", report.privacy.words)]),
            *committee_fields(committee),
            *challenge_fields(config.window),
            (
                "gas",
                f"{report.gas_per_participant:,.0f} a round and participant ({participants(config, ' + ')})",
            ),
            ("seconds", f"{report.seconds:.1f}{_earlier(report)}"),
            ("contract", report.contract),
            ("run", report.run_dir),
            ("ask it", _next_commands(report, path)),
        ]
    )


def _earlier(report: Report) -> str:
    """Return how many rounds the seconds do not count, which the run had when it was resumed."""
    return f", without {plural(report.earlier_rounds, 'earlier round')}" if report.earlier_rounds else ""


def _learned(report: Report) -> list[tuple[str, str]]:
    """Return the metrics of the last model, and its loss where there are none."""
    metrics = [(name, metric_text(name, value)) for name, value in report.final_metrics.items()]
    return metrics or [("loss", metric_text("loss", report.final_loss))]


def _losses(report: Report) -> str:
    """Return how many updates the checks rejected, and who lost most by it."""
    total = sum(len(round_.accepted) + len(round_.rejected) for round_ in report.rounds)
    losses = report.losses
    if not losses:
        return f"none of {plural(total, 'update')}"
    first, count = losses[0], sum(loss.rounds for loss in losses)
    words = (
        f"{count:,} of {plural(total, 'update')} ({count / total:.1%}), of {plural(len(losses), 'device')}"
    )
    return f"{words}; most often {first.device}, {plural(first.rounds, 'time')}"


def _fit(report: Report) -> list[tuple[str, str]]:
    """Return which share of the changes the lanes could not hold."""
    fits = [round_.fit for round_ in report.rounds if round_.fit is not None]
    moved = sum(fit.moved for fit in fits)
    if not moved:
        return []
    saturated, vanished = sum(fit.saturated for fit in fits), sum(fit.vanished for fit in fits)
    words = f"{saturated / moved:.2%} of {moved:,} changes saturated, {vanished / moved:.2%} vanished"
    return [("lanes", words)]


def _adversarial(report: Report) -> list[tuple[str, str]]:
    """Return who misbehaved, what they got through, and what it cost the honest ones."""
    if report.adversaries is None:
        return []
    counts = Counter((adversary.attack, adversary.role) for adversary in report.adversaries)
    adversaries = ", ".join(f"{plural(count, role)} {attack}" for (attack, role), count in counts.items())
    mistakes = plural(report.false_rejects or 0, "update")
    mistakes += f" of honest devices rejected, {report.false_accepts} of adversaries accepted"
    fields = [("adversaries", adversaries), ("mistakes", mistakes)]
    if report.attack_success is not None:
        fields.append(("attack success", f"{report.attack_success:.2%}"))
    return fields


def _next_commands(report: Report, path: Path) -> str:
    """Return commands to try next; with `--run` where the queries would ask another run."""
    runs = list_runs(runs_folder(None))
    option = "" if runs and runs[-1].path.resolve() == path.resolve() else f" --run {quote(str(path))}"
    last = len(report.rounds)
    commands = (f"round {last}", f"votes {last}", "model", "export")
    return ", ".join(f"`bcfl {command}{option}`" for command in commands)
