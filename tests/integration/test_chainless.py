"""The federation of the robustness bench has the accepted sets and model roots of `bcfl run`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bcfl.config import Config
from bcfl.federation import simulation
from bcfl.learning import Dataset, Samples, split
from testkit import robustness
from testkit.chainless import Chainless
from testkit.robustness_cases import CLASSES, FEDAVG, Case, adaptive, grid, headline, quick, small
from testkit.robustness_report import plot, table

SMALL = {"devices": 8, "miners": 3, "rounds": 3, "task": "breast-cancer", "min_updates": 2}
ATTACKS = [
    (),
    ("sign-flip:0.25",),
    ("alie:0.25:knowledge=all", "colluding-miner:0.34"),
    ("malformed:0.125", "withholder:0.125", "free-rider:0.25:kind=stale"),
    ("backdoor:0.25", "lazy-miner:0.34:kind=copy"),
    ("adaptive:0.25",),
    ("adaptive:0.25:knowledge=round,goal=backdoor",),
]


@pytest.mark.parametrize(
    ("attacks", "changes"),
    [*((attacks, {}) for attacks in ATTACKS), (ATTACKS[1], {"rule": "median", "check_quality": False})],
    ids=str,
)
def test_a_round_is_what_it_is_on_the_chain(
    tmp_path: Path, attacks: tuple[str, ...], changes: dict[str, object]
) -> None:
    config = Config(**SMALL | changes, adversary=attacks, runs=tmp_path)  # type: ignore[arg-type]
    report = simulation.run(config)
    federation = Chainless.create(config)
    names = federation.history.devices
    for round_report in report.rounds:
        outcome = federation.play_round()
        assert {names[device] for device in outcome.accepted} == set(round_report.accepted)
        assert {names[d]: reason for d, reason in outcome.rejected.items()} == {
            item.device: item.reason for item in round_report.rejected
        }
        assert "0x" + outcome.root.hex() == round_report.global_root
        assert (outcome.accuracy, outcome.attack_success) == (
            round_report.accuracy,
            round_report.attack_success,
        )
    assert [round_report.status for round_report in report.rounds] == ["finalized"] * 3


def test_a_bench_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"devices": 6, "miners": 2, "rounds": 2, "task": "breast-cancer"}
    thief = {"attack": "withholder", "adversaries": ("withholder:0.34",), "share": 0.34}
    cases = [
        Case(**fields, **options, partition="iid", pipeline=pipeline, seed=0)  # type: ignore[arg-type]
        for fields in ({"attack": "", "adversaries": (), "share": 0.0}, thief)
        for pipeline in (FEDAVG, "mean")
    ]
    path = tmp_path / "results.jsonl"
    robustness.campaign(cases[:2], path, 1, False)
    path.write_text(path.read_text()[:-20])  # killed while it wrote
    keys: list[str] = []
    play_case = robustness.play

    def play(case: Case) -> dict[str, Any]:
        keys.append(case.key)
        return play_case(case)

    monkeypatch.setattr(robustness, "play", play)
    robustness.campaign(cases, path, 1, False)
    assert keys == [case.key for case in cases[1:]]
    results = robustness.last_results(path, False)
    assert set(results) == {case.key for case in cases}
    result = results[cases[3].key]
    assert (result["honest"], result["adversarial"], result["false_accepts"]) == (8, 4, 0)
    assert result["earned"] == 0.0
    text = table(cases, results)
    assert text.count("| withholder, 6 devices | 34% | iid |") == 1
    assert plot(cases, results).count("<circle") == 2 + 2  # the legend, and one attack against two pipelines
    path.write_text(path.read_text().replace(result["rules"], "other"))
    assert set(robustness.last_results(path, False)) < set(robustness.last_results(path, True))


def test_every_case_can_be_played() -> None:
    cases = (*quick(), *headline(), *grid(), *small(), *adaptive())
    pictures = Samples(np.zeros((6_000, 1), np.float32), np.arange(6_000) % CLASSES)
    data = Dataset(pictures, pictures)
    sizes = {(case.devices, case.miners, case.partition, case.seed): case.config() for case in cases}
    for config in sizes.values():  # nobody goes without data, on tables like the real ones
        shares = split(data, config.devices, config.miners, config.partition, config.seed, alpha=config.alpha)
        assert all(map(len, shares.devices))
    assert all(case.key for case in cases)
    assert len({case.key for case in quick()}) == len(list(quick()))
