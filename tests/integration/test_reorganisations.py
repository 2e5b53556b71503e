"""Devices and miners on a real node that takes blocks back, one to three at a time, anywhere in a round."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bcfl.federation.daemon import Daemon
from bcfl.ledger.live import LiveLedger
from bcfl.ledger.rpc import RpcChain
from bcfl.protocol.accounts import Account
from bcfl.protocol.rewards import block_hash
from bcfl.protocol.types import Phase
from bcfl.roles.common.snapshot import next_change, take_snapshot
from tests import foundry
from tests.daemons import daemons
from tests.integration.processes.test_up import ONCE
from tests.local_federation import ETHER, LocalFederation

PHASES = (Phase.COMMIT, Phase.REVEAL, Phase.VOTE, Phase.UNVEIL, Phase.PROPOSE, Phase.ATTEST)


@pytest.fixture(scope="module")
def anvil() -> Iterator[str]:
    with foundry.anvil() as url:
        yield url


@pytest.fixture
def local(anvil: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalFederation]:
    """A federation on anvil, whose parties follow the chain as processes do."""
    chain = RpcChain(anvil, poll=0.01)
    for role, count in (("owner", 1), ("device", 4), ("miner", 4)):
        for index in range(count):
            account = Account.derive(0, role, *([index] if role != "owner" else []))
            chain.request("anvil_setBalance", account.address, hex(1000 * ETHER))
    monkeypatch.setattr("tests.local_federation.FederationLedger", LiveLedger)
    monkeypatch.setattr("bcfl.federation.daemon.TURN_SECONDS", 0)
    federation = LocalFederation(tmp_path, chain=chain)  # type: ignore[arg-type]
    chain.request("anvil_mine", "0x3")  # what the owner did stays
    yield federation
    chain.close()


def replace_blocks(chain: RpcChain, depth: int) -> None:
    """The last blocks give way to empty ones: every transaction in them is lost."""
    chain.request("anvil_reorg", depth, [])


def take_back_blocks(chain: RpcChain, depth: int) -> None:
    """The chain is shorter by some blocks, as after evm_revert to a snapshot."""
    chain.request("anvil_rollback", depth)


@pytest.mark.parametrize(
    ("reorganise", "depth"),
    [(replace_blocks, 1), (replace_blocks, 2), (replace_blocks, 3), (take_back_blocks, 3)],
)
def test_rounds_go_on_over_reorganisations(
    local: LocalFederation, depth: int, reorganise: Callable[[RpcChain, int], None]
) -> None:
    """Each round loses blocks in another phase, after half of the parties have acted in it."""
    parties = daemons(local)
    for number, phase in enumerate(PHASES, start=1):
        play(local, parties, number, phase)
        for daemon in parties[::2]:
            daemon.turn()
        local.ledger.history()  # what is taken back has been seen
        reorganise(local.chain, depth)  # type: ignore[arg-type]
        play(local, parties, number)
    assert local.ledger.reorganisations >= len(PHASES) // 2  # type: ignore[attr-defined]
    check(local)


def play(local: LocalFederation, parties: list[Daemon], number: int, phase: Phase | None = None) -> None:
    """Turn after turn until a round has ended, or is in a phase; time passes where nobody has to act."""
    for _ in range(400):
        clock = local.ledger.clock()
        if has_ended(local, number) or (clock.round == number and clock.phase is phase):
            return
        pauses = [daemon.turn() for daemon in parties]
        if all(pauses):
            snapshot = take_snapshot(local.ledger)
            chain: RpcChain = local.chain  # type: ignore[assignment]
            chain.warp(chain.now() + 1 if snapshot is None else next_change(snapshot))
    raise AssertionError("the round stands still")


def has_ended(local: LocalFederation, number: int) -> bool:
    """Whether a round has; blocks that are taken back may take a round with them."""
    round_ = local.history.rounds.get(number)
    return round_ is not None and round_.closed is not None


def check(local: LocalFederation) -> None:
    """Every round ended in a block, nobody paid, nothing stands twice, and it is what a newcomer reads."""
    ledger = LiveLedger(local.ledger.contract)
    history = ledger.history()
    assert history == local.history
    counts: Counter[tuple[object, ...]] = Counter()
    for event in local.ledger.contract.events():
        if event.name in ONCE:
            account = event.args.get("miner") or event.args.get("sender")
            counts[event.name, event.args["round"], account] += 1
    assert max(counts.values()) == 1
    for number in range(1, len(PHASES) + 1):
        round_ = history.rounds[number]
        assert round_.status == "finalized"
        assert not round_.penalties
        devices = [item.update.device for item in round_.submissions]
        assert len(set(devices)) == len(devices)
        assert round_.block is not None
        assert round_.block.parent == block_hash(history.blocks[number - 1])
