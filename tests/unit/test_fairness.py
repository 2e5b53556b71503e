"""The fairness bench computes Shapley values, fair shares and recalls as its tables say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bcfl.learning import Split
from bcfl.learning.datasets import Samples
from bcfl.learning.kinds import initial_model, judge
from testkit import fairness, fairness_report, fairness_skew
from testkit.fairness import PARTIES, Coalition, Mixture, coalitions, shapley, spearman
from testkit.robustness_cases import FEDAVG, Case

ROOT = Path(__file__).parents[2]
SHORT = Mixture("digits", 0, rounds=1)
ALL = frozenset(range(len(PARTIES)))


def test_shapley_values_of_gloves_are_those_of_the_textbook() -> None:
    """One left glove and two right ones: a pair is worth 1."""
    values = shapley({some: float(0 in some and len(some) > 1) for some in coalitions(3)}, 3)
    assert values == pytest.approx([2 / 3, 1 / 6, 1 / 6])


def test_shapley_values_share_out_all_that_there_is() -> None:
    rng = np.random.default_rng(0)
    worth = {some: float(rng.normal()) for some in coalitions(6)}
    assert shapley(worth, 6).sum() == pytest.approx(worth[ALL] - worth[frozenset()])
    alone = {some: float(sum(some)) for some in coalitions(6)}
    assert shapley(alone, 6) == pytest.approx(np.arange(6))


def test_a_rank_correlation_lets_equal_values_share_a_rank() -> None:
    assert spearman([1, 2, 3, 4], [10, 20, 30, 50]) == pytest.approx(1)
    assert spearman([1, 2, 3, 4], [9, 8, 7, 1]) == pytest.approx(-1)
    assert spearman([1, 1, 2, 3], [1, 2, 3, 4]) == pytest.approx(np.sqrt(0.9))
    assert spearman([3, 3, 3], [4, 3, 2]) == 0


def test_parties_have_their_shares_and_their_wrong_labels() -> None:
    task, shares = SHORT.data()
    sizes = np.array([len(part) for part in shares.devices])
    assert sizes / sizes.sum() == pytest.approx([party.share for party in PARTIES], abs=0.001)
    assert sizes.sum() + sum(map(len, shares.miners)) == len(task.dataset().train)
    clean = Samples(np.zeros((1000, 1), np.float32), np.arange(1000) % 10)
    noisy = fairness.with_noise(clean, 0.4, 10, np.random.default_rng(0))
    assert int((noisy.labels != clean.labels).sum()) == 400
    assert set(noisy.labels) == set(range(10))
    small = fairness.mixed(task.dataset(), PARTIES, 3, 0, samples=600)
    assert sum(map(len, (*small.devices, *small.miners))) == 600


def test_a_coalition_is_retrained_from_the_genesis_model() -> None:
    large, noisy, everybody = (
        fairness.worth(SHORT, some)["accuracy"] for some in (frozenset({0}), frozenset({4}), ALL)
    )
    nobody = fairness.worth(SHORT, frozenset())["accuracy"]
    assert nobody < 0.3
    assert everybody > 0.85
    assert large > noisy + 0.1 > nobody


def test_what_devices_are_given_is_what_the_tally_says() -> None:
    given = fairness.play_mixture(SHORT)
    assert [len(given[name]) for name in ("accuracy", "levels", "merits", "gains")] == [1, 1, 1, 1]
    (levels,), (merits,), (gains,) = given["levels"], given["merits"], given["gains"]
    assert levels[0] > levels[5] > 0
    assert merits[0] > 0 > merits[5]
    assert gains[0] > gains[3] > gains[5] > 0
    weights = np.multiply(given["fair"], levels)
    assert given["pay"] == pytest.approx(weights / weights.sum(), abs=1e-9)


def test_without_judgement_everybody_earns_a_fair_share() -> None:
    case = Case("", (), 0.0, "dirichlet 0.5", FEDAVG, 0, 4, 2, 3, "breast-cancer", "skew")
    result = fairness_skew.play(case)
    assert result["ratios"] == pytest.approx([1, 1, 1, 1])
    assert set(result["levels"]) == {3}
    assert (result["rejected"], result["sent"], len(result["recalls"])) == (0, 12, 2)


def test_samples_count_up_to_the_median_and_recalls_are_of_one_class() -> None:
    task, shares = SHORT.data()
    rows = [0, 0, 0, 1], [1, 1], [0, 0, 0, 0, 0, 0, 0, 1]
    devices = [Samples(np.zeros((len(row), 64), np.float32), np.array(row)) for row in rows]
    counts = fairness_skew.counted(Split(tuple(devices), (), devices[0]))
    assert counts.tolist() == [[3, 1], [0, 2], [3.5, 0.5]]
    learners = fairness_skew.judges(task, shares)
    model = initial_model(task, 0)
    recalls = fairness_skew.recalls_of(learners, model)
    whole = judge(task, shares).evaluate(model).accuracy
    parts = np.bincount(shares.test.labels)
    assert [learner.evaluate(model).samples for learner in learners] == parts.tolist()
    assert float(parts @ recalls / parts.sum()) == pytest.approx(whole)


def worths(some: Coalition) -> dict[str, Any]:
    """Return results in which the parties are worth less and less, by accuracy."""
    return {"accuracy": sum(0.1 / (1 + party) for party in some), "loss": 1.0 / (1 + len(some))}


def test_the_report_ranks_parties_and_leaves_out_what_is_not_complete() -> None:
    results = {fairness_report.worth_key(SHORT, some): worths(some) for some in coalitions(len(PARTIES))}
    assert fairness_report.correlations([SHORT], results) == []
    results[fairness_report.given_key(SHORT)] = {
        "accuracy": [0.9], "levels": [[4, 3, 3, 3, 2, 1]], "merits": [[0, 1, 2, 3, 4, 5]],
        "gains": [[6, 5, 4, 3, 1, 2]],
        "pay": [0.3, 0.2, 0.2, 0.15, 0.1, 0.05], "fair": [1 / 6] * 6,
    }  # fmt: skip
    (row,) = fairness_report.correlations([SHORT], results)
    assert (row["merit"], row["claim"], row["last by level"]) == (-1, 0, "tiny, noisy labels")
    assert (row["last by merit"], row["last by gain"]) == ("large, large too", "noisy labels, tiny")
    rows = fairness_report.parties([SHORT], results)
    assert [each["Shapley"] for each in rows] == pytest.approx([0.408, 0.204, 0.136, 0.102, 0.082, 0.068])
    assert fairness_report.table(rows).count("\n") == len(PARTIES) + 1


def test_the_report_says_what_skew_costs() -> None:
    ours = Case("", (), 0.0, "dirichlet 0.1", "mean", 0, 2, 2, 3, "digits", "skew")
    plain = Case("", (), 0.0, "dirichlet 0.1", FEDAVG, 0, 2, 2, 3, "digits", "skew")
    result = {
        "accuracy": [0.1, 0.8, 0.9, 1.0], "recalls": [0.5, 0.75], "rarest": 1, "rejected": 1, "sent": 6,
        "fair": [0.75, 0.25], "ratios": [1.25, 0.25], "rarest_of": [0.0, 0.5],
    }  # fmt: skip
    results = {fairness_report.skew_key(ours): result}
    (row,) = fairness_report.skewed([ours, plain], results)
    assert (row["rarest class, ours"], row["rarest class, nobody judged"]) == (75.0, "")
    results[fairness_report.skew_key(plain)] = result | {"recalls": [0.6, 0.25]}
    (row,) = fairness_report.skewed([ours, plain], results)
    assert (row["accuracy, ours"], row["rarest class, nobody judged"]) == (90.0, 25.0)
    assert (row["worst class, ours"], row["worst class, nobody judged"]) == (50.0, 25.0)
    assert (row["pay, fair shares"], row["outside 0.6 to 1.4"]) == ("0.25 to 1.25", "1 of 2")
    assert (row["pay of the rarest class"], row["pay a head"]) == (0.25, "0.12 to 1.88")


def test_the_bench_plays_nothing_twice(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    command = [sys.executable, "-m", "benchmarks.fairness", "--quick", "--json", "--results", str(path)]
    command += ["--only", "worth|digits|0|3|5"]
    for _ in range(2):
        process = subprocess.run(
            command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=True
        )
        assert json.loads(process.stdout) == {"correlations": [], "parties": [], "skew": []}
        (line,) = path.read_text().splitlines()
        assert json.loads(line)["key"] == "worth|digits|0|3|5"
