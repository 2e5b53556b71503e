"""A whole federation in one process: the same seed gives the same models, whatever the options."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bcfl.config import Config
from bcfl.federation import simulation
from bcfl.federation.reports import Progress, Report
from bcfl.federation.terms import terms_of
from bcfl.learning import resolve
from bcfl.learning.training import layout
from bcfl.protocol.types import Engine, Mode, Rule
from tests.processes import STALL_SECONDS

SMALL = {"devices": 5, "miners": 3, "rounds": 2, "task": "breast-cancer"}


def play(tmp_path: Path, **changes: object) -> Report:
    return simulation.run(Config(**SMALL | {"runs": tmp_path} | changes))  # type: ignore[arg-type]


def roots(report: Report) -> list[str]:
    return [round_.global_root for round_ in report.rounds]


def test_default_behavior(tmp_path: Path) -> None:
    events: list[Progress] = []
    config = Config(**SMALL | {"runs": tmp_path})  # type: ignore[arg-type]
    report = simulation.run(config, on_progress=events.append)
    assert [round_.status for round_ in report.rounds] == ["finalized"] * 2
    assert all(len(round_.accepted) == 5 and not round_.rejected for round_ in report.rounds)
    assert report.final_accuracy is not None
    assert report.final_accuracy > 0.9
    assert [p.report.round for p in events if p.report] == [1, 2]
    assert {p.phase for p in events} >= {"commit", "reveal", "vote", "unveil", "finalized"}
    assert all(p.rounds == 2 for p in events)


def test_the_same_seed_gives_the_same_models(tmp_path: Path) -> None:
    first = play(tmp_path)
    script = (
        "import sys; from pathlib import Path; from bcfl import Config, run as train;"
        f"report = train(Config(**{SMALL!r}, runs=Path(sys.argv[1])));"
        "print(*(f'{r.global_root} {r.leader}' for r in report.rounds))"
    )
    process = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=STALL_SECONDS,
        check=True,
    )
    assert process.stdout.split()[::2] == roots(first)
    assert process.stdout.split()[1::2] == [round_.leader for round_ in first.rounds]
    assert roots(play(tmp_path)) == roots(first)


def test_another_seed_gives_another_model(tmp_path: Path) -> None:
    assert roots(play(tmp_path, seed=1, rounds=1)) != roots(play(tmp_path, seed=2, rounds=1))


@pytest.mark.parametrize(
    "changes",
    [
        {"lane_bits": 32},
        {"lane_bits": 8},
        {"rule": "median"},
        {"rule": "trimmed_mean", "trim": 0.2},
        {"engine": "pow", "elect_seconds": 120},
        {"devices": 1},
        {"miners": 1},
        {"miners": 7},
        {"mode": "full", "miners": 5},
        {"mode": "full", "miners": 5, "engine": "stake"},
        {"mode": "partial"},
        {"engine": "committee", "committee_size": 1},
        {"engine": "committee", "committee_size": 2, "miners": 5},
        {"propose_seconds": 10, "challenge_seconds": 20},
        {"challenge_seconds": 0},
        {"check_time": False, "check_duplicate": False, "check_quality": False},
    ],
    ids=str,
)
def test_every_option_plays(tmp_path: Path, changes: dict[str, object]) -> None:
    report = play(tmp_path, **changes)
    assert [round_.status for round_ in report.rounds] == ["finalized"] * 2
    assert all(not round_.rejected for round_ in report.rounds)


def test_miners_change_the_engine_while_the_federation_runs(tmp_path: Path) -> None:
    wishes = ("2:pow", "3:committee", "5:resource")
    report = play(tmp_path, mode="hybrid", wish=wishes, rounds=7, elect_seconds=120)
    engines = ["stake", "pow", *["committee"] * 4, "resource"]  # committees do not choose the engine
    assert [round_.engine for round_ in report.rounds] == engines
    assert [len(round_.committee) for round_ in report.rounds] == [0, 0, 3, 3, 3, 0, 0]
    assert all(round_.status == "finalized" for round_ in report.rounds)


def test_in_full_a_device_and_its_miner_are_one_account(tmp_path: Path) -> None:
    report = play(tmp_path, mode="full", miners=5)
    journals = {path.name for path in (Path(report.run_dir) / "journal").iterdir()}
    assert journals == {*report.rounds[0].accepted} | {item.device for item in report.rounds[0].rejected}
    assert {round_.leader for round_ in report.rounds} <= journals
    assert report.gas_per_participant == sum(round_.gas for round_ in report.rounds) / 2 / 5


def test_lanes_and_rules_make_different_models(tmp_path: Path) -> None:
    reports = [
        play(tmp_path, rounds=1, lane_bits=bits, rule=rule) for bits in (32, 8) for rule in ("mean", "median")
    ]
    assert len({round_.rounds[0].global_root for round_ in reports}) == 4


def test_a_training_that_diverges_ends_in_void_rounds(tmp_path: Path) -> None:
    report = play(tmp_path, learning_rate=1e3, epochs=20)
    assert [(round_.status, round_.reason) for round_ in report.rounds] == [("void", "few_updates")] * 2
    assert report.rounds[0].global_root == report.rounds[1].global_root


def test_the_terms_leave_time_for_every_transaction_of_a_phase() -> None:
    shape = layout(resolve("breast-cancer"))
    few = terms_of(Config(), shape, 10)
    assert (few.commit_seconds, few.vote_seconds) == (Config().commit_seconds, Config().vote_seconds)
    many = terms_of(Config(devices=600, miners=64), shape, 10)
    assert min(many.commit_seconds, many.reveal_seconds, many.vote_seconds, many.attest_seconds) >= 128
    assert terms_of(Config(devices=64, miners=1), shape, 10).reveal_seconds == 256


def test_the_terms_are_the_options() -> None:
    config = Config(
        rule="trimmed_mean", trim=0.25, engine="pow", time_factor=2.5, time_slack=0.5, max_samples=9
    )
    terms = terms_of(config, layout(resolve("breast-cancer")), 77)
    assert (terms.rule, terms.trim, terms.engine) == (Rule.TRIMMED_MEAN, 2500, Engine.POW)
    assert (terms.mode, terms.committee_size) == (Mode.PARTIAL, 5)
    full = terms_of(Config(mode="full", committee_size=9), layout(resolve("breast-cancer")), 77)
    assert (full.mode, full.engine, full.committee_size) == (Mode.FULL, Engine.RESOURCE, 9)
    assert (terms.time_factor, terms.time_slack, terms.max_samples) == (25_000, 500_000, 9)
    assert terms_of(Config(), layout(resolve("breast-cancer")), 77).max_samples == 77
