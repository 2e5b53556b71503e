"""The miner's judgement of real rounds: bytes, norms, copies of earlier rounds, and its findings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from bcfl.errors import ConfigError, Corrupt, Oversized, PayloadError, StoreError, Unavailable
from bcfl.ports import TrainingResult, Vector
from bcfl.protocol.fixedpoint import decode_update
from bcfl.protocol.rounds import Submission
from bcfl.protocol.types import Phase, Verdict
from bcfl.roles.checks import length
from bcfl.roles.checks.pipeline import PipelineResult
from bcfl.roles.common import norm_bound
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.snapshot import take_snapshot
from bcfl.roles.miner import findings
from bcfl.roles.miner.judging import Case, judge
from bcfl.roles.miner.miner import Miner
from bcfl.roles.miner.sketches import SIZE, Sketches
from bcfl.roles.miner.verifier import Verifier
from tests.local_federation import TERMS, LocalFederation, Quadratic

Train = Callable[[Vector, int], TrainingResult]


def bend(local: LocalFederation, device: int, change: Callable[[Vector, int], Vector]) -> None:
    """Let a device send `change(update, round)` instead of its update."""
    learner = local.learners[device]
    honest: Train = learner.train

    def train_and_change(model: Vector, round_: int) -> TrainingResult:
        result = honest(model, round_)
        return replace(result, vector=(model + change(result.vector - model, round_)).astype(np.float32))

    learner.train = train_and_change  # type: ignore[method-assign]


def judge_round(local: LocalFederation) -> tuple[Verifier, tuple[Verdict, ...]]:
    """A miner's verdicts on the running round, once all is revealed."""
    local.until(Phase.VOTE)
    verifier = local.miner_parties[0].voting.verifier
    snapshot = take_snapshot(local.ledger)
    assert snapshot is not None
    return verifier, verifier.verdicts(snapshot.history, snapshot.current)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (Unavailable, Verdict.UNAVAILABLE),
        (Corrupt, Verdict.UNAVAILABLE),
        (Oversized, Verdict.MALFORMED),
        (PayloadError, Verdict.MALFORMED),
    ],
)
def test_what_the_bytes_are_is_the_devices_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception], verdict: Verdict
) -> None:
    local = LocalFederation(tmp_path)
    local.until(Phase.VOTE)
    archive_update = Archive.update

    def update(archive: Archive, item: Submission) -> object:
        if item.position == 2:
            raise error("so it is")
        return archive_update(archive, item)

    monkeypatch.setattr(Archive, "update", update)
    verifier, verdicts = judge_round(local)
    assert verdicts == (0, 0, verdict, 0)
    rejected = [item for item in verifier.findings if item.reason != "accepted"]
    assert [(item.position, item.rule) for item in rejected] == [(2, "so it is")]


def test_a_store_that_is_away_is_nobodys_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No vote is better than one that slanders everybody; the miner asks again."""
    local = LocalFederation(tmp_path)
    local.until(Phase.VOTE)

    def fail(*_: object) -> None:
        raise StoreError("the daemon does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(Archive, "update", fail)
        with pytest.raises(StoreError, match="does not answer"):
            local.miner_parties[0].act()
    assert local.miner_parties[0].act() == "committed its verdicts"
    assert local.play().status == "finalized"


def test_the_reference_is_the_median_length_of_the_last_models_updates(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    assert norm_bound.reference_norm(local.archive, local.history, 1) is None
    round_ = local.play()
    updates = [
        decode_update(local.archive.update(item), 24, TERMS.shift) for item in round_.accepted_submissions()
    ]
    expected = float(np.median([np.linalg.norm(update.astype(np.float64)) for update in updates]))
    local.archive.forget()
    assert norm_bound.reference_norm(local.archive, local.history, 2) == pytest.approx(expected, rel=1e-6)


def test_a_reference_is_had_from_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = LocalFederation(tmp_path)
    round_ = local.play()
    missing_positions = {round_.accepted_submissions()[0].position, round_.accepted_submissions()[1].position}
    archive_norm = Archive.norm

    def norm(archive: Archive, item: Submission) -> float:
        if item.position in missing_positions:
            raise Unavailable("gone")
        return archive_norm(archive, item)

    monkeypatch.setattr(Archive, "norm", norm)
    norms = [
        archive_norm(local.archive, item)
        for item in round_.accepted_submissions()
        if item.position not in missing_positions
    ]
    assert norm_bound.reference_norm(local.archive, local.history, 2) == pytest.approx(
        float(np.median(norms))
    )
    missing_positions |= {item.position for item in round_.accepted_submissions()}
    assert norm_bound.reference_norm(local.archive, local.history, 2) is None


@pytest.mark.parametrize("lane_bits", [8, 16, 32])
def test_an_honest_device_shortens_what_miners_would_not_take(tmp_path: Path, lane_bits: int) -> None:
    shift = {8: 16, 16: 10, 32: 0}[lane_bits]
    local = LocalFederation(
        tmp_path, terms=replace(TERMS, lane_bits=lane_bits, shift=shift, leaf_lanes=min(32, 512 // lane_bits))
    )
    bend(local, 3, lambda update, round_: update * (50 if round_ > 1 else 1))
    local.play()
    limit = length.CLIP * (norm_bound.reference_norm(local.archive, local.history, 2) or 0)
    second_round = local.play()
    long_submission = next(item for item in second_round.submissions if item.update.device == 3)
    slack = norm_bound.rounding_norm(TERMS.parameters, 24, shift)
    assert 0.9 * limit - slack <= local.archive.norm(long_submission) <= limit + slack
    rules = {f.rule for miner in local.miner_parties for f in miner.voting.verifier.findings}
    assert "norm" not in rules, "of few updates `length` judges it beside this round's others"


def test_a_miner_drops_what_is_longer(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    local.play()
    local.device_parties[3].trainer.clips = False
    bend(local, 3, lambda update, _: update * 8)
    verifier, verdicts = judge_round(local)
    item = next(i for i in local.history.rounds[2].submissions if i.update.device == 3)
    assert verdicts[item.position] is not Verdict.ACCEPTED
    assert [finding.rule for finding in verifier.findings if finding.position == item.position]


def test_another_devices_update_of_the_last_round_is_a_copy(tmp_path: Path) -> None:
    """What has been revealed can be had from the store; noise and scaling do not make it new."""
    local = LocalFederation(tmp_path, devices=6)
    vectors: dict[int, Vector] = {}

    def send(update: Vector, round_: int, device: int) -> Vector:
        fresh = np.random.default_rng([round_, device]).normal(0, 0.3, update.shape)
        vectors[round_, device] = (update + fresh).astype(np.float32)  # type: ignore[index]
        if (round_, device) == (2, 4):
            return 0.7 * vectors[1, 2]  # type: ignore[index]
        return vectors[round_, device]  # type: ignore[index]

    for device in range(6):
        bend(local, device, lambda update, round_, d=device: send(update, round_, d))  # type: ignore[misc]
    local.play()
    verifier, verdicts = judge_round(local)
    devices = {item.device for item in verifier.findings if item.reason == "duplicate"}
    assert devices == {4}
    second_verifier = Verifier(
        Quadratic(local.learners[0].optimum), local.ledger, local.archive, verifier.checks
    )
    second_verdicts = second_verifier.verdicts(local.history, local.history.rounds[2])
    assert second_verdicts == verdicts, "a miner that was restarted reads the last round anew"


def test_a_device_that_was_copied_goes_on_as_before(tmp_path: Path) -> None:
    """Its updates of three rounds are alike, and so is the copy of the first: only the copy is one."""
    local = LocalFederation(tmp_path, devices=6)
    centres = np.random.default_rng(5).normal(0, 0.3, (6, TERMS.parameters)).astype(np.float32)
    noise = np.random.default_rng(6)

    def send(round_: int, device: int) -> Vector:
        author = 2 if round_ == 2 and device == 4 else device
        update: Vector = (centres[author] + noise.normal(0, 0.002, TERMS.parameters)).astype(np.float32)
        return update

    for device in range(6):
        bend(local, device, lambda _, round_, d=device: send(round_, d))  # type: ignore[misc]
    for _ in range(3):
        _, verdicts = judge_round(local)
        devices = [item.update.device for item in local.history.current.submissions]  # type: ignore[union-attr]
        copies = {d for d, verdict in zip(devices, verdicts, strict=True) if verdict is Verdict.DUPLICATE}
        assert copies == ({4} if max(local.history.rounds) == 2 else set())
        local.play()


def test_sketches_keep_angles() -> None:
    sketcher = Sketches(lambda _: ([], np.empty((0, 9), np.float32)))
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(6, 40 * SIZE + 7)).astype(np.float32)
    rows[1] = 3 * rows[0] + 0.5 * rows[2]
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    sketches = sketcher.sketch(rows)
    assert sketches.shape == (6, SIZE)
    assert np.abs(sketches @ sketches.T - unit @ unit.T).max() < 0.15
    short_sketches = sketcher.sketch(rows[:, :SIZE])
    unit_rows = rows[:, :SIZE] / np.linalg.norm(rows[:, :SIZE], axis=1, keepdims=True)
    assert np.allclose(short_sketches, unit_rows, atol=1e-6)
    assert not sketcher.sketch(np.zeros((1, 5), np.float32)).any()


def test_a_miner_records_its_findings(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    bend(local, 1, lambda update, _: -update)
    local.play()
    item = next(i for i in local.history.rounds[1].submissions if i.update.device == 1)
    for context in local.miner_parties:
        record = findings.read(tmp_path / "journal" / context.account.address)[1]
        finding = next(entry for entry in record if entry.position == item.position)
        assert (finding.device, finding.reason, finding.rule) == (1, "quality", "harm")
        assert finding.score is not None
        assert finding.most is not None
        assert finding.score > finding.most
        assert finding.text == f"harm {finding.score:.4g}, at most {finding.most:.4g}"
    assert 2 not in findings.read(tmp_path / "journal" / context.account.address)


@pytest.mark.parametrize("damage", [b"{", b'{"round": 1}', b"[]", b'{"round": 1, "findings": [{}]}', b"\xff"])
def test_damaged_findings_are_missing_findings(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / findings.FILE).write_bytes(damage)
    assert findings.read(tmp_path) == {}
    assert findings.read(tmp_path / "absent") == {}


@dataclass
class Remote(Quadratic):
    """A learner that judges elsewhere: it notes what is begun, asked for and given up."""

    events: list[str] = field(default_factory=list)
    failure: Exception | None = None

    def begin(self, case: Case) -> RemoteJudgement:
        self.events.append(f"begins {case.number}")
        return RemoteJudgement(self, case)


@dataclass
class RemoteJudgement:
    learner: Remote
    case: Case

    def result(self) -> PipelineResult:
        self.learner.events.append(f"ends {self.case.number}")
        if self.learner.failure is not None:
            raise self.learner.failure
        return judge(replace(self.learner, events=[]), self.case)

    def drop(self) -> None:
        self.learner.events.append(f"drops {self.case.number}")


def remote_miner(local: LocalFederation, place: int = 0) -> tuple[Miner, Remote]:
    """Let a miner of a federation have a learner elsewhere."""
    miner = local.miner_parties[place]
    learner = Remote(local.learners[0].optimum)
    miner.voting.verifier.learner = learner
    return miner, learner


def test_who_judges_elsewhere_begins_before_the_vote_and_says_the_same(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, devices=6)
    bend(local, 3, lambda update, _: -5 * update)
    miner, learner = remote_miner(local)
    miner.prepare()
    assert not learner.events, "nothing is revealed yet"
    local.until(Phase.VOTE)
    for _ in range(2):
        miner.prepare()
    assert learner.events == ["begins 1"]
    verifier, verdicts = judge_round(local)
    assert learner.events == ["begins 1", "ends 1"]
    assert Verdict.ACCEPTED in verdicts
    assert {*verdicts} != {Verdict.ACCEPTED}
    here = Verifier(Quadratic(learner.optimum), local.ledger, local.archive, verifier.checks)
    snapshot = take_snapshot(local.ledger)
    assert snapshot is not None
    assert here.verdicts(snapshot.history, snapshot.current) == verdicts
    assert here.levels == verifier.levels
    assert [f for f in here.findings if f.rule != "new"] == [f for f in verifier.findings if f.rule != "new"]


def test_what_was_begun_for_another_round_is_given_up(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    miner, learner = remote_miner(local)
    local.until(Phase.VOTE)
    miner.prepare()
    for other in local.miner_parties[1:]:
        other.act()
    while local.ledger.clock().round == 1:
        local.schedule.let_time_pass()  # the miner does not vote in this round
        for other in local.miner_parties[1:]:
            other.act()
    local.until(Phase.VOTE)
    miner.prepare()
    assert learner.events == ["begins 1", "drops 1", "begins 2"]


def test_a_failure_elsewhere_costs_a_vote_and_no_more(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    miner, learner = remote_miner(local)
    learner.failure = ConfigError("the workers' data are gone")
    local.until(Phase.VOTE)
    miner.prepare()
    assert miner.act() == "sits out the vote"
    miner.prepare()
    assert miner.act() is None
    assert learner.events == ["begins 1", "ends 1"]
