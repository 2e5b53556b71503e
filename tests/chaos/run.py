"""One chaos run from its seed to its outcome."""

from __future__ import annotations

import time
from pathlib import Path

from tests.chaos.checks import Outcome, failed_transactions, faults, losses
from tests.chaos.federation import opened
from tests.chaos.strikes import Striker, plan

ROUNDS, DEVICES, MINERS = 6, 6, 4
LIMIT = 1_800.0  # seconds; a run takes one or two minutes on a quiet machine


def run(seed: int, folder: Path, *, real: bool, encrypted: bool = False, rounds: int = ROUNDS) -> Outcome:
    """Play, kill and check; raises TimeoutError for a run that does not end."""
    start = time.monotonic()
    with opened(folder, DEVICES, MINERS, real=real, encrypted=encrypted) as federation:
        striker = Striker(federation, plan(seed, rounds, DEVICES, MINERS, store=real))
        striker.watch(rounds, LIMIT)
        (folder / "struck.txt").write_text("".join(f"{item}\n" for item in striker.struck))
        findings, lost = tuple(faults(federation)), tuple(losses(federation))
        if not striker.slow():
            findings, lost = (*lost, *findings), ()
        findings += tuple(f"{name} has ended by itself" for name in federation.dead())
        kind = ("ipfs" if real else "folder") + (" tls" if encrypted else "")
        history = federation.ledger.history()
        blocks = sum(history.rounds[number].block is not None for number in range(1, rounds + 1))
        seconds, failures = round(time.monotonic() - start, 1), failed_transactions(federation)
        return Outcome(
            seed, kind, len(striker.struck), rounds, blocks, seconds, failures, striker.slow(), findings,
            round(striker.lag, 1), round(striker.outage, 1), lost,
        )  # fmt: skip
