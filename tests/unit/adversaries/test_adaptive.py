"""Adversaries that adapt, and attacks over rounds, against plain averaging and against the rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from bcfl.adversaries import catalog
from bcfl.adversaries.accomplices import Accomplices
from bcfl.adversaries.adaptive import Adaptive
from bcfl.adversaries.attack import AttackContext, DeviceParts
from bcfl.adversaries.class_swap import bend, swap
from bcfl.adversaries.goals import Frame, Mislabelling, View, rarest
from bcfl.adversaries.rehearsal import Outcome, Rehearsal, Sent
from bcfl.config import Config
from bcfl.errors import ConfigError
from bcfl.learning import Samples
from bcfl.roles.checks import pipeline
from testkit.chainless import Chainless, RoundOutcome

SMALL = {"devices": 10, "miners": 3, "rounds": 6, "task": "digits", "partition": "iid", "min_updates": 2}
OFF = {option: False for option in Config.model_fields if option.startswith("check_")}


def federation(*adversaries: str, **changes: object) -> Chainless:
    return Chainless.create(Config(**SMALL | {"adversary": adversaries} | changes))  # type: ignore[arg-type]


def played(parties: Chainless, rounds: int = 6) -> list[RoundOutcome]:
    return [parties.play_round() for _ in range(rounds)]


def parts_of(parties: Chainless, device: int) -> DeviceParts:
    trainer = parties.devices[device].trainer
    return DeviceParts(
        trainer.account, trainer.learner, parties.ledger, parties.devices[device].relay, parties.archive,
        trainer.journal,
    )  # fmt: skip


def accomplices_of(parties: Chainless) -> Accomplices:
    (coalition,) = parties.assignment.coalitions.values()
    assert isinstance(coalition, Accomplices)
    return coalition


@pytest.fixture(scope="module")
def honest_accuracy() -> float:
    return played(federation(**OFF))[-1].accuracy or 0.0


@pytest.mark.parametrize("knowledge", ["past", "round"])
def test_loss_ruins_an_average(knowledge: str, honest_accuracy: float) -> None:
    last = played(federation(f"adaptive:0.3:knowledge={knowledge}", **OFF))[-1]
    assert not last.rejected
    assert last.accuracy is not None
    assert last.accuracy < honest_accuracy - 0.05


@pytest.mark.parametrize("goal", ["backdoor", "class"])
def test_an_average_says_the_target(goal: str, honest_accuracy: float) -> None:
    last = played(federation(f"adaptive:0.3:goal={goal}", **OFF))[-1]
    assert last.attack_success is not None
    assert last.attack_success > 0.7
    assert last.accuracy is not None
    assert last.accuracy > honest_accuracy - 0.15  # the rest of the model is spared


def test_one_device_of_six_has_its_backdoor() -> None:
    last = played(federation("adaptive:0.17:goal=backdoor", devices=6, **OFF))[-1]
    assert last.attack_success is not None
    assert last.attack_success > 0.7


def test_earning_takes_no_training_after_the_first_round(monkeypatch: pytest.MonkeyPatch) -> None:
    parties = federation("adaptive:0.3:goal=earn", **OFF)
    parties.play_round()
    riders = parties.assignment.device_specs
    for rider in riders:
        learner = parties.devices[rider].trainer.learner
        monkeypatch.setattr(learner.honest, "train", lambda *_: pytest.fail("it has trained"))  # type: ignore[attr-defined]
    rounds = played(parties, 4)
    assert all(set(riders) <= each.accepted for each in rounds)
    pay = [parties.earned[device] for device in range(10)]
    honest = [pay[device] for device in range(10) if device not in riders]
    assert min(pay[rider] for rider in riders) >= max(honest)  # it claims what pays most


def test_a_swap_is_learned_by_an_average_from_updates_of_the_usual_length() -> None:
    parties = federation("class-swap:0.3", **OFF)
    rounds = played(parties, 2)
    assert rounds[-1].attack_success is not None
    assert rounds[-1].attack_success > 0.3
    model = parties.archive.values(parties.history.head)
    device = next(iter(parties.assignment.device_specs))
    learner = parties.devices[device].trainer.learner
    bent, honest = learner.train(model, 9), learner.honest.train(model, 9)  # type: ignore[attr-defined]
    assert np.linalg.norm(bent.vector - model) <= np.linalg.norm(honest.vector - model) * 1.001
    assert np.linalg.norm(bent.vector - honest.vector) > 0.1 * np.linalg.norm(honest.vector - model)


@pytest.mark.parametrize("direction", ["first", "seed"])
def test_a_drift_holds_one_direction_and_costs_an_average(direction: str, honest_accuracy: float) -> None:
    parties = federation(f"drift:0.3:direction={direction}", **OFF)
    device = next(iter(parties.assignment.device_specs))
    learner = parties.devices[device].trainer.learner
    ways = []
    for number in (1, 2, 3):
        model = parties.archive.values(parties.history.head)
        bent, honest = learner.train(model, number), learner.honest.train(model, number)  # type: ignore[attr-defined]
        way = (bent.vector - honest.vector).astype(float)
        ways.append(way / np.linalg.norm(way))
        last = parties.play_round()
    assert np.array(ways) @ ways[0] == pytest.approx(1, abs=1e-3)
    assert last.accuracy is not None
    assert last.accuracy < honest_accuracy - 0.02


def test_a_rehearsal_of_a_finished_round_comes_to_its_model() -> None:
    """The whole pipeline is played, with the round's own model, claims and archive."""
    parties = federation("sign-flip:0.2", devices=20, miners=1)  # of several each has levels of its own
    outcome = played(parties, 2)[-1]
    round_ = parties.history.rounds[2]
    sent = [
        Sent(item.update.device, parties.archive.update(item), item.update.samples, item.update.microseconds)
        for item in round_.submissions
    ]
    learner = parties.miners[0].voting.verifier.learner
    rehearsal = Rehearsal(parts_of(parties, 0), learner, parties.history, 2, sent[:10])
    played_again = rehearsal.play(sent[10:])
    opening = round_.votes[0].opening
    assert opening.levels is not None
    assert tuple(played_again.levels.values()) == opening.levels
    assert {device for device, level in played_again.levels.items() if level} == outcome.accepted
    assert np.array_equal(played_again.model, parties.archive.values(parties.history.head))
    assert played_again.pay == {item.update.device: item.paid for item in round_.accepted_submissions()}


def test_a_rehearsal_leaves_no_trace_in_the_history() -> None:
    parties = federation("adaptive:0.3")
    played(parties, 3)
    assert sorted(parties.history.rounds) == [1, 2, 3]
    roots = {item.update.root for each in parties.history.rounds.values() for item in each.submissions}
    assert set(parties.history.roots) == roots


@pytest.mark.parametrize(("tries", "knowledge"), [(8, "past"), (3, "round")])
def test_all_accomplices_together_judge_so_many_updates_a_round(
    tries: int, knowledge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: Counter[int] = Counter()
    play = Rehearsal.play

    def count(self: Rehearsal, own: Sequence[Sent]) -> Outcome:
        counts[self._number] += 1
        return play(self, own)

    monkeypatch.setattr(Rehearsal, "play", count)
    played(federation(f"adaptive:0.3:knowledge={knowledge},tries={tries}"), 4)
    assert set(counts) == ({1, 2, 3} if knowledge == "past" else {1, 2, 3, 4})
    assert 1 < max(counts.values()) <= tries


def test_it_sleeps_and_wakes() -> None:
    attack = Adaptive(sleep=2, awake=1)
    assert [number for number in range(1, 10) if attack.is_awake(number)] == [3, 6, 9]
    assert [number for number in range(1, 6) if Adaptive(sleep=2).is_awake(number)] == [3, 4, 5]
    asleep, clean = federation("adaptive:0.3:sleep=3"), federation()
    for _ in range(3):
        assert asleep.play_round().root == clean.play_round().root
    assert asleep.play_round().root != clean.play_round().root


def test_it_claims_what_pays_most_in_a_time_that_passes() -> None:
    parties = federation("adaptive:0.2", partition="dirichlet", devices=20)
    played(parties, 3)
    updates = {item.update.device: item.update for item in parties.history.rounds[3].submissions}
    most = max(item.update.samples for item in parties.history.rounds[2].submissions)
    for device in parties.assignment.device_specs:
        assert updates[device].samples == most


def test_what_is_rejected_makes_it_shyer() -> None:
    parties = federation("adaptive:0.3")
    parties.play_round()
    parties.play_round()
    accomplices = accomplices_of(parties)
    search = accomplices._search
    assert search is not None
    before, last = search.caution, parties.history.rounds[2]
    accomplices._sent = 2, 3.0
    last.levels = tuple(
        0 if item.update.device in parties.assignment.device_specs else 3 for item in last.submissions
    )
    parties.play_round()
    assert search.caution < before


def test_alone_or_without_data_it_sits_out() -> None:
    parties = federation()
    context = AttackContext(seed=0, index=0, devices=10, adversaries=1)
    for text in ("adaptive:1", "class-swap:1"):
        device = catalog.parse(text).attack.device(parts_of(parties, 0), context)
        with pytest.raises(ConfigError, match="where its devices form a coalition"):
            device.trainer.learner.train(parties.archive.values(parties.history.head), 1)


def test_what_success_is() -> None:
    samples = Samples(np.zeros((4, 1, 4, 4), np.float32), np.array([0, 1, 2, 6]))
    assert Adaptive().test_samples(samples) is None
    assert (aim := Adaptive(goal="class", source=2, target=1).test_samples(samples)) is not None
    assert aim.labels.tolist() == [1]
    assert Mislabelling(2, 1).test_samples(samples).labels.tolist() == [1]
    assert (marked := Adaptive(goal="backdoor").test_samples(samples)) is not None
    assert marked.labels.tolist() == [0, 0, 0]
    assert catalog.parse("class-swap:0.1").attack.test_samples(samples).labels.tolist() == [6, 0]
    assert swap(np.array([0, 3, 6]), 0, 6).tolist() == [6, 3, 0]
    assert bend(np.array([3.0, 4.0]), np.array([0.0, 0.0]), 2).tolist() == [3, 4]
    assert np.linalg.norm(bend(np.array([3.0, 4.0]), np.array([9.0, 0.0]), 2)) == pytest.approx(5)


@pytest.mark.parametrize("is_blind", [True, False])
def test_who_is_rare_is_framed_only_where_clusters_look_at_no_loss(
    is_blind: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropping whatever looks like a group drops an honest device that others gather round."""
    options = {**OFF, "check_clusters": True, "devices": 24, "partition": "dirichlet", "alpha": 0.1}
    if is_blind:
        monkeypatch.setattr(pipeline._Pipeline, "_is_harmless", lambda *_: True)
    parties = federation("adaptive:0.3:goal=frame,knowledge=round", **options)
    rounds = played(parties, 2)
    goal = accomplices_of(parties)._goal
    assert isinstance(goal, Frame)
    assert goal.victim not in parties.assignment.device_specs
    assert any(goal.victim in outcome.rejected for outcome in rounds) == is_blind


def test_the_rarest_is_least_like_the_others() -> None:
    known = np.array([[1.0, 0.1], [2.0, 0.0], [-0.1, 1.0]])
    assert rarest(known) == 2
    view = View(1, np.zeros(2, np.float32), (0,), np.array([[1.0, 0.0]]), known, (1, 2, 3), np.zeros(2))
    assert view.rare == pytest.approx(known[2] - np.concatenate([known, [[1.0, 0.0]]]).mean(axis=0))
    assert not replace(view, known=known[:1]).rare.any()
    assert view.usual == pytest.approx(1.005, abs=0.01)
