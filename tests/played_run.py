"""Play a federation by hand into a run's folder, for whatever reads runs, while they grow too."""

from __future__ import annotations

from pathlib import Path

from bcfl.config import Config
from bcfl.federation.runs import Run
from bcfl.ledger.devnet.embedded import EmbeddedChain
from bcfl.protocol.accounts import Account
from bcfl.protocol.types import Phase
from tests.local_federation import LocalFederation
from tests.recorded_run import skip_first_leader

DEVICES, MINERS = 5, 4
SILENT, REJECTED, VOID, SKIPPED = 2, 3, 4, 5  # rounds in which something special happens
ROUNDS = 6


def begin_run(runs: Path) -> LocalFederation:
    """Return a federation whose chain, store and journals are those of a new run."""
    accounts = [Account.derive(0, "owner")]
    accounts += [Account.derive(0, "device", index) for index in range(DEVICES)]
    accounts += [Account.derive(0, "miner", index) for index in range(MINERS)]
    with Run.create(Config(runs=runs, devices=DEVICES, miners=MINERS, rounds=ROUNDS)) as run:
        chain = EmbeddedChain(run.chain_path, accounts=sorted(account.address for account in accounts))
        local = LocalFederation(run.path, devices=DEVICES, miners=MINERS, chain=chain)
        run.set_contract(str(local.contract))
    return local


def play_run(runs: Path) -> LocalFederation:
    """Play rounds of which one is void, one has a silent miner, one a rejection, and one a late leader."""
    local = begin_run(runs)
    for context in local.miner_parties:
        context.lead.propose = skip_first_leader(context.lead.propose)  # type: ignore[assignment, method-assign]
    for number in range(1, ROUNDS + 1):
        if number == SILENT:
            local.leave_in(Phase.UNVEIL, local.miner_parties[1])
        if number == VOID:
            local.leave_in(Phase.VOTE, *local.miner_parties)
        optimum = local.learners[2].optimum
        if number == REJECTED:
            local.learners[2].optimum = -9 * optimum
        local.play()
        local.learners[2].optimum = optimum
    return local
