"""Processes that speak TLS, killed at random and started again: a seed of `make chaos`."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.run import run
from tests.chaos.strikes import LEADER, PHASES, plan
from tests.ipfs import ipfs


def test_every_kind_of_process_is_killed_and_the_leader_in_each_phase() -> None:
    strikes = plan(1, 6, devices=6, miners=3, store=True)
    assert {strike.phase for strike in strikes if strike.target == LEADER} == set(PHASES)
    assert {strike.target.split()[0] for strike in strikes} == {LEADER, "device", "miner", "chain", "store"}
    assert plan(1, 6, devices=6, miners=3, store=True) == strikes != plan(2, 6, 6, 3, store=True)


def test_default_behavior(tmp_path: Path) -> None:
    real = ipfs.absence() is None  # an IPFS daemon that is killed too; a folder where there is none
    outcome = run(int(real), tmp_path, real=real, encrypted=True)
    assert outcome.faults == ()
    assert outcome.kills >= 10
    if not outcome.slow:
        assert (
            outcome.blocks >= outcome.rounds - 2
        )  # a store that is away too long voids a round, and no more
