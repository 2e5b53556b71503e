"""Runs whose terms ask for noise: anybody can tell epsilon, nobody can tell the noise, budgets are kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from bcfl.bundle.writer import write_bundle
from bcfl.config import Config
from bcfl.errors import ConfigError, RunError
from bcfl.federation import noise_secret, simulation
from bcfl.federation.accountant import total
from bcfl.federation.audits import judge, source_of
from bcfl.federation.budget import BudgetLedger
from bcfl.federation.documents.markdown import to_markdown
from bcfl.federation.query import open_run
from bcfl.federation.reports import Report
from bcfl.federation.subject import of_run
from bcfl.federation.views.summary import summary
from bcfl.protocol.accounts import Account
from bcfl.protocol.noise import Noise, Release

pytest.importorskip("opacus")
SMALL: dict[str, Any] = {
    "devices": 3,
    "miners": 2,
    "rounds": 2,
    "task": "breast-cancer",
    "partition": "iid",
    "epochs": 1,
    "batch_size": 32,
    "check_time": False,
}
SAMPLE, PARTICIPANT = "noise=1.1,clip=1", "noise=0.1,clip=0.5,level=participant"


def play(path: Path, workers: int = 1, **changes: object) -> Report:
    return simulation.run(Config(**SMALL | {"run_dir": path} | changes), workers=workers)


def roots(report: Report) -> list[str]:
    return [round_.global_root for round_ in report.rounds]


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Return what makes runs have a secret of so many equal bytes."""
    return lambda byte: monkeypatch.setattr("os.urandom", lambda count: byte * count)


@pytest.mark.parametrize("dp", [SAMPLE, PARTICIPANT])
def test_anybody_tells_epsilon_from_the_chain(dp: str, tmp_path: Path) -> None:
    report = play(tmp_path / "run", dp=dp)
    assert report.privacy is not None
    assert [round_.status for round_ in report.rounds] == ["finalized"] * 2
    with open_run(tmp_path / "run") as query:
        noise = Noise.of(query.layout) if query.layout else None
        assert noise is not None
        assert noise.level == ("sample" if dp == SAMPLE else "participant")
        for index, account in enumerate(query.history.devices):
            updates = [
                item.update
                for round_ in query.history.rounds.values()
                for item in round_.submissions
                if item.update.device == index
            ]
            expected = total(noise.release(update.samples) for update in updates).epsilon(1e-5)
            view = query.device_view(index)
            assert view["privacy"] is not None
            assert view["privacy"]["epsilon"] == pytest.approx(expected, abs=1e-4)
            told = [item["epsilon"] for item in view["rounds"]]
            assert told == sorted(told)
            assert told[-1] == view["privacy"]["epsilon"] == report.privacy.devices[account]
            aggregate = view["privacy"]["aggregate_epsilon"]
            assert (aggregate is None) == (dp == SAMPLE)
            assert aggregate is None or 0 < aggregate < expected
        view_of_all = summary(of_run(query))
        assert view_of_all["privacy"] is not None
        assert view_of_all["privacy"]["epsilon"] == report.privacy.epsilon
        assert "epsilon" in to_markdown(view_of_all)
        assert judge(source_of(query.contract, query.store)).passed
    json.dumps(report.to_dict(), allow_nan=False)
    if dp == SAMPLE:
        release = Release(Fraction(11, 10), Fraction(32, updates[0].samples), -(-updates[0].samples // 32))
        assert noise.release(updates[0].samples) == release


@pytest.mark.parametrize("dp", [SAMPLE, PARTICIPANT])
def test_one_seed_and_another_secret_are_other_models(
    dp: str, tmp_path: Path, secret: Callable[[bytes], None]
) -> None:
    secret(b"a")
    first = roots(play(tmp_path / "1", dp=dp))
    assert roots(play(tmp_path / "2", dp=dp)) == first
    assert roots(play(tmp_path / "3", workers=2, dp=dp)) == first
    secret(b"b")
    assert not set(roots(play(tmp_path / "4", dp=dp))) & set(first)


def test_a_resumed_run_goes_on_with_its_secret(tmp_path: Path, secret: Callable[[bytes], None]) -> None:
    secret(b"a")
    whole = roots(play(tmp_path / "whole", dp=SAMPLE))
    play(tmp_path / "part", dp=SAMPLE, rounds=1)
    secret(b"b")
    from bcfl.federation.runs import Run

    with Run.open(tmp_path / "part") as run:
        run.set_rounds(2)
    assert roots(simulation.resume(tmp_path / "part")) == whole


def test_the_secret_is_the_owners_alone_and_no_account_says_it(tmp_path: Path) -> None:
    """The accounts of a run follow from its seed, which anybody knows."""
    play(tmp_path / "run", dp=SAMPLE, rounds=1)
    file = tmp_path / "run" / noise_secret.SECRET
    assert file.stat().st_mode & 0o077 == 0
    secret = file.read_bytes()
    assert len(secret) == 32
    assert secret not in [Account.derive(0, "device", i).key for i in range(3)]
    write = tmp_path / "bundle.car"
    with open_run(tmp_path / "run") as query:
        write_bundle(query.contract, query.store, write)
    everything = [write, *(tmp_path / "run" / "store").rglob("*"), tmp_path / "run" / "chain.sqlite"]
    assert not any(secret in path.read_bytes() for path in everything if path.is_file())


def test_a_secret_of_another_length_is_refused(tmp_path: Path) -> None:
    (tmp_path / noise_secret.SECRET).write_bytes(b"short")
    with pytest.raises(RunError, match="no secret"):
        noise_secret.run_secret(tmp_path)


def test_devices_sit_out_what_their_owners_do_not_allow(tmp_path: Path) -> None:
    allowed = play(tmp_path / "free", dp=SAMPLE, rounds=1).privacy
    assert allowed is not None
    report = play(tmp_path / "run", dp=SAMPLE, budget=f"epsilon={allowed.epsilon + 0.01:.3f}")
    assert [round_.status for round_ in report.rounds] == ["finalized", "void"]
    assert report.privacy is not None
    assert report.privacy.epsilon == allowed.epsilon
    for account in report.privacy.devices:
        spent = BudgetLedger(tmp_path / "run" / noise_secret.BUDGETS / account).spent()
        assert spent.epsilon(1e-5) == pytest.approx(report.privacy.devices[account], abs=1e-4)


def test_a_run_without_noise_says_nothing_of_it(tmp_path: Path) -> None:
    report = play(tmp_path / "run", rounds=1)
    assert report.privacy is None
    assert "privacy" not in report.to_dict()
    assert asdict(report)["privacy"] is None
    assert not (tmp_path / "run" / noise_secret.SECRET).exists()
    with open_run(tmp_path / "run") as query:
        view = query.device_view(0)
        assert view["privacy"] is None
        assert "epsilon" not in view["rounds"][0]


def test_a_task_with_batchnorm_is_refused_before_anything_begins(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="BatchNorm1d"):
        play(tmp_path / "run", dp=SAMPLE, task="tests.integration.worker_tasks:plain")
    assert not (tmp_path / "run").exists()
