"""Every adversary carries its attack out, and the system answers: reasons, penalties, earnings, accuracy."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bcfl.adversaries.hostile_store import MALFORMATIONS
from bcfl.config import Config
from bcfl.federation import simulation
from bcfl.federation.genesis import set_up_data
from bcfl.federation.reports import Report
from bcfl.federation.runs import Run
from bcfl.federation.simulation import Simulation
from bcfl.ports import TrainingResult
from bcfl.protocol.types import Verdict
from bcfl.roles.background.claims import amount, claims
from bcfl.roles.common import norm_bound
from testkit.chainless import Chainless

ROUNDS = 3
ADVERSARIES = (
    "withholder:0.05", "malformed:0.05", "dropout:0.05:rate=1", "dropout:0.05:rate=1,stage=reveal",
    "time-forger:0.05:factor=0.001", "inflater:0.05:factor=50,held=1,forged=false", "plagiarist:0.05",
    "sign-flip:0.05", "silent-miner:0.2",
)  # fmt: skip
ANSWERS = {
    "withholder": {"unavailable": 3},
    "malformed": {"malformed": 3},
    "dropout": {},
    "time-forger": {"time": 3},
    "inflater": {"time": 3},
    "plagiarist": {"duplicate": 2},  # in the first round there is nothing to copy
}
SMALL = {"devices": 10, "miners": 3, "rounds": 2, "task": "digits", "partition": "iid", "min_updates": 2}
OFF = {option: False for option in Config.model_fields if option.startswith("check_")}


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Simulation, Report]]:
    """One run on the chain in which one device in two is honest, and one miner is silent."""
    config = Config(
        devices=20, miners=5, rounds=ROUNDS, partition="iid", adversary=ADVERSARIES, max_samples=10_000,
        time_slack=0.001, runs=tmp_path_factory.mktemp("runs"),
    )  # fmt: skip
    task, shares = set_up_data(config)
    with Run.create(config) as run, Simulation.open(run, task, shares) as simulation_:
        yield simulation_, simulation_.play(None, 0.0)


def accounts(report: Report, name: str) -> list[str]:
    return [
        adversary.account for adversary in report.adversaries or () if adversary.attack.split(":")[0] == name
    ]


@pytest.mark.parametrize("name", ANSWERS)
def test_the_answer_to_a_device(finished_run: tuple[Simulation, Report], name: str) -> None:
    federation, report = finished_run
    addresses = accounts(report, name)
    assert addresses
    assert not any(set(addresses) & set(round_.accepted) for round_ in report.rounds)
    reasons = Counter(
        item.reason for round_ in report.rounds for item in round_.rejected if item.device in addresses
    )
    assert dict(reasons) == ANSWERS[name]
    for account in addresses:
        assert not list(claims(federation.ledger.history(), federation.ledger.domain, account))


def test_honest_devices_earn(finished_run: tuple[Simulation, Report]) -> None:
    federation, report = finished_run
    history, ledger = federation.ledger.history(), federation.ledger
    adversaries = {adversary.account for adversary in report.adversaries or ()}
    for account in set(history.devices) - adversaries:
        shares = list(claims(history, ledger.domain, account))
        assert len(shares) == ROUNDS
        assert all(amount(claim, history, ledger.terms) > 0 for claim in shares)


def test_a_silent_miner_pays(finished_run: tuple[Simulation, Report]) -> None:
    federation, report = finished_run
    (silent,) = accounts(report, "silent-miner")
    for round_ in federation.ledger.history().rounds.values():
        if round_.number <= ROUNDS:
            assert round_.status == "finalized"
            assert round_.penalties == [(silent, federation.ledger.terms.vote_penalty)]
            assert silent in round_.vote_commits
            assert silent not in [vote.voter.account for vote in round_.votes]


def test_the_report_says_who_misbehaved(finished_run: tuple[Simulation, Report]) -> None:
    _, report = finished_run
    assert Counter(adversary.role for adversary in report.adversaries or ()) == {"device": 8, "miner": 1}
    assert (report.false_rejects, report.false_accepts, report.attack_success) == (0, 0, None)
    content = report.to_dict()
    assert content["adversaries"][0].keys() == {"account", "role", "attack"}
    assert "attack_success" not in content
    assert content["rounds"][0]["false_rejects"] == 0


def test_a_run_without_adversaries_speaks_of_none(tmp_path: Path) -> None:
    report = simulation.run(Config(devices=3, miners=2, rounds=1, task="breast-cancer", runs=tmp_path))
    assert report.adversaries is None
    assert not {"adversaries", "false_rejects"} & (set(report.to_dict()) | set(report.rounds[0].to_dict()))


def small(*adversaries: str, **changes: object) -> Chainless:
    return Chainless.create(Config(**SMALL | {"adversary": adversaries} | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", MALFORMATIONS)
def test_malformed_bytes_of_every_kind(kind: str) -> None:
    federation = small(f"malformed:0.2:kind={kind}")
    round_ = federation.play_round()
    assert set(round_.rejected) == set(federation.assignment.device_specs)
    assert set(round_.rejected.values()) == {"malformed"}
    assert "antigravity" not in sys.modules  # nothing was unpickled


@pytest.mark.parametrize("attack", ["sign-flip:0.3", "ipm:0.3:epsilon=100", "noise:0.3:std=1"])
def test_gross_poison_is_rejected(attack: str) -> None:
    federation = small(attack)
    for _ in range(2):
        round_ = federation.play_round()
        assert set(round_.rejected) == set(federation.assignment.device_specs)
        assert {Verdict[reason.upper()] for reason in round_.rejected.values()} <= {
            Verdict.QUALITY,
            Verdict.OUTLIER,
            Verdict.DUPLICATE,  # noise, for it has learned nothing
        }
    assert (round_.accuracy or 0) > 0.8


POISON = [
    "label-flip:0.4", "sign-flip:0.4", "noise:0.4:std=1", "scaling:0.4:factor=100",
    *(
        f"{attack},knowledge={knowledge}"
        for knowledge in ("colluders", "all")
        for attack in (
            "ipm:0.4:epsilon=100", "alie:0.4:z=20", "minmax:0.4:perturbation=unit",
            "minmax:0.4:perturbation=sign", "minsum:0.4:perturbation=std",
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize("attack", POISON)
def test_poison_moves_an_unguarded_model(attack: str) -> None:
    """With every check off it is accepted, and takes the model away from where it would be."""
    clean, poisoned = small(**OFF), small(attack, **OFF)
    for _ in range(2):
        good, bad = clean.play_round(), poisoned.play_round()
        assert not bad.rejected
    truth = clean.archive.values(clean.history.head)
    assert np.linalg.norm(poisoned.archive.values(poisoned.history.head) - truth) > 0.05 * np.linalg.norm(
        truth
    )
    assert bad.accuracy is not None
    assert good.accuracy is not None
    assert bad.accuracy < good.accuracy + 0.03


def test_colluders_hit_their_target_together() -> None:
    """They differ as honest devices do, and their mean is what the paper wants."""
    federation = small("ipm:0.3:epsilon=2", **OFF)
    model = federation.archive.values(federation.history.head)
    colluders = sorted(federation.assignment.device_specs)
    learners = [device.trainer.learner for device in federation.devices]
    deltas = [learners[i].train(model, 1).vector.astype(float) - model for i in colluders]
    honest = [learners[i].honest.train(model, 1).vector.astype(float) - model for i in colluders]  # type: ignore[attr-defined]
    assert np.mean(deltas, axis=0) == pytest.approx(-2 * np.mean(honest, axis=0), abs=1e-6)
    assert np.linalg.norm(deltas[0] - deltas[1]) == pytest.approx(
        np.linalg.norm(honest[0] - honest[1]) / 2, rel=1e-3
    )


def test_knowing_all_is_knowing_the_honest() -> None:
    federation = small("ipm:0.3:epsilon=1,knowledge=all,spread=0", **OFF)
    model = federation.archive.values(federation.history.head)
    learners = [device.trainer.learner for device in federation.devices]
    deltas = {i: learner.train(model, 1).vector.astype(float) - model for i, learner in enumerate(learners)}
    honest = [deltas[i] for i in deltas if i not in federation.assignment.device_specs]
    for i in federation.assignment.device_specs:
        assert deltas[i] == pytest.approx(-np.mean(honest, axis=0), abs=1e-6)


@pytest.mark.parametrize("boost", ["none", "1"])
def test_a_backdoor_is_measured(boost: str) -> None:
    federation = small(f"backdoor:0.3:boost={boost}", rounds=4, **OFF)
    successes = [federation.play_round().attack_success for _ in range(4)]
    clean = small(**OFF)
    assert clean.play_round().attack_success is None
    assert successes[-1] is not None
    assert successes[-1] > 0.4


@pytest.mark.parametrize("kind", ["zero", "stale", "noise"])
def test_a_free_rider_does_not_train(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = small(f"free-rider:0.1:kind={kind}")
    (rider,) = federation.assignment.device_specs
    learner = federation.devices[rider].trainer.learner
    monkeypatch.setattr(learner.honest, "train", lambda *_: pytest.fail("it has trained"))  # type: ignore[attr-defined]
    federation.play_round()
    models = [federation.archive.values(block) for block in federation.history.blocks]
    ride: TrainingResult = learner.train(models[-1], 2)
    norm = np.linalg.norm(models[-1] - models[-2])
    size = {"zero": 0.0, "stale": norm, "noise": norm}[kind]
    assert np.linalg.norm(ride.vector - models[-1]) == pytest.approx(size, rel=0.1)
    round_ = federation.play_round()
    assert round_.rejected.get(rider) != "time"


@pytest.mark.parametrize(("kind", "victim"), [("exact", "present"), ("noisy", "past"), ("noisy", "present")])
def test_a_plagiarist_sends_another_s_work(kind: str, victim: str, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = small(f"plagiarist:0.1:kind={kind},victim={victim},noise=0.01", **OFF)
    (plagiarist,) = federation.assignment.device_specs
    learner = federation.devices[plagiarist].trainer.learner
    monkeypatch.setattr(learner.honest, "train", lambda *_: pytest.fail("it has trained"))  # type: ignore[attr-defined]
    first, second = federation.play_round(), federation.play_round()
    assert (plagiarist in first.accepted) == (victim == "present")
    assert plagiarist in second.accepted
    updates = {item.update.device: item for item in federation.history.rounds[2].submissions}
    number = 1 if victim == "past" else 2
    sources = [
        item for item in federation.history.rounds[number].submissions if item.update.device != plagiarist
    ]
    copy = updates[plagiarist].update
    assert any(
        (copy.samples, copy.microseconds) == (s.update.samples, s.update.microseconds) for s in sources
    )


def test_a_forged_time_hides_an_inflated_claim_that_buys_nothing() -> None:
    spec = "inflater:0.1:held=1"
    capped, free = small(spec), small(spec, max_samples=100_000)
    (liar,) = capped.assignment.device_specs
    assert liar in capped.play_round().accepted
    assert liar in free.play_round().accepted
    honest_wage = max(wage for device, wage in capped.earned.items() if device != liar)
    assert capped.earned[liar] <= honest_wage
    # Whatever the terms allow, a claim counts up to the median of its round.
    assert free.earned[liar] <= max(wage for device, wage in free.earned.items() if device != liar)


@pytest.mark.parametrize("check_min_norm", [True, False])
def test_a_claim_without_the_training_shows_in_the_norm(check_min_norm: bool) -> None:
    federation = small("inflater:0.1", **OFF | {"check_min_norm": check_min_norm})
    (liar,) = federation.assignment.device_specs
    round_ = federation.play_round()
    assert round_.rejected == ({liar: "outlier"} if check_min_norm else {})


def test_an_inflater_can_be_as_long_as_the_others() -> None:
    federation = small("inflater:0.1:stretched=true", **OFF)
    (liar,) = federation.assignment.device_specs
    for number in (1, 2):
        federation.play_round()
        items = federation.history.rounds[number].submissions
        reference = norm_bound.reference_norm(federation.archive, federation.history, number)
        (norm,) = (federation.archive.norm(item) for item in items if item.update.device == liar)
        assert reference is None or norm == pytest.approx(reference, rel=1e-3)


@pytest.mark.parametrize("policy", ["verify", "reject"])
def test_a_minority_of_colluding_miners_gets_nothing_through(policy: str) -> None:
    federation = small("sign-flip:0.3:factor=10", f"colluding-miner:0.34:others={policy}")
    result = federation.play_round()
    assert set(result.rejected) == set(federation.assignment.device_specs)
    round_ = federation.history.rounds[1]
    (traitor,) = federation.assignment.miner_specs
    verdicts = round_.votes[traitor].opening.verdicts
    for item, verdict in zip(round_.submissions, verdicts, strict=True):
        is_loyal = item.update.device in federation.assignment.device_specs or policy == "verify"
        assert (verdict is Verdict.ACCEPTED) == is_loyal


@pytest.mark.parametrize("kind", ["accept", "copy"])
def test_a_lazy_miner_does_not_verify(kind: str) -> None:
    federation = small("sign-flip:0.3:factor=10", f"lazy-miner:0.34:kind={kind}")
    (lazy,) = federation.assignment.miner_specs
    for number in (1, 2):
        federation.play_round()
        round_ = federation.history.rounds[number]
        verdicts = round_.votes[lazy].opening.verdicts
        is_guess = number == 1 or kind == "accept"
        expected = [True] * 10 if is_guess else list(round_.accepted or ())
        assert [verdict is Verdict.ACCEPTED for verdict in verdicts] == expected


def test_who_misbehaves_sends_longer_updates_than_the_honest() -> None:
    federation = small("scaling:0.3", "dropout:0.1")
    bounds = [device.trainer.bound for device in federation.devices]
    attacks = {
        index: type(spec.attack).__name__ for index, spec in federation.assignment.device_specs.items()
    }
    for index, bound in enumerate(bounds):
        is_honest = attacks.get(index, "Dropout") == "Dropout"
        assert bound is (norm_bound.device_bound if is_honest else norm_bound.largest_bound)
    assert len(set(attacks.values())) == 2
