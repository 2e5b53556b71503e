"""A campaign of interleavings goes on where its file ends, and a flat chain agrees with py-evm's own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import pytest

from bcfl.ledger.contract import Receipt
from testkit import interleaving_campaign, ledgers
from testkit.flat_chain import FlatChain
from testkit.harness import Federation
from testkit.interleaving_campaign import PART, Campaign
from testkit.interleavings import MINERS, TERMS, Interleaving
from testkit.plain_chain import PlainChain
from testkit.proposal_fixture import ProposalFixture


def count(numbers: range) -> Counter[str]:
    """Play nothing, and count the numbers and their sum."""
    return Counter({"interleavings": len(numbers), "sum": sum(numbers)})


def fail(numbers: range) -> Counter[str]:
    """Fail where 13 is among the numbers."""
    assert 13 not in numbers, "interleaving 13"
    return count(numbers)


def test_a_campaign_goes_on_where_its_file_ends(tmp_path: Path) -> None:
    path = tmp_path / "parts.jsonl"
    list(Campaign(path, count).run(range(10, 35), 1))
    with path.open("a") as file:
        file.write('{"first": 0, "coun')  # the process died here
    campaign = Campaign(path, count)
    assert campaign.missing(range(10, 35)) == []
    assert campaign.missing(range(60))[0] == range(10)
    assert list(campaign.run(range(60), 2))[-1] == 35
    assert Campaign(path, count).total == count(range(60))


def test_parts_of_other_sources_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "parts.jsonl"
    list(Campaign(path, count).run(range(5), 1))
    monkeypatch.setattr(interleaving_campaign, "sources", lambda: "other")
    assert Campaign(path, count).missing(range(5)) == [range(5)]
    assert Campaign(path, count).total == Counter()


def test_no_part_begins_after_the_time(tmp_path: Path) -> None:
    assert list(Campaign(tmp_path / "parts.jsonl", count).run(range(5), 1, seconds=0)) == []


def test_a_part_that_fails_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "parts.jsonl"
    with pytest.raises(AssertionError, match="interleaving 13"):
        list(Campaign(path, fail).run(range(PART), 1))
    assert Campaign(path, fail).missing(range(PART)) == [range(PART)]


def played(fixture: ProposalFixture, seed: int, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return every receipt, refusal and sum of an interleaving; blocks and seconds from its first on."""
    fixture.rewind()
    federation, outcomes = fixture.federation, list[object]()
    block, second = int(federation.chain.request("eth_blockNumber"), 16), federation.chain.now()

    def send(self: Federation, *args: object, **options: int) -> Receipt:
        try:
            receipt = original(self, *args, **options)  # type: ignore[arg-type]
        except Exception as error:
            outcomes.append(str(error))
            raise
        events = [(event.name, event.args, event.log_index) for event in receipt.events]
        outcomes.append((receipt.block - block, receipt.timestamp - second, receipt.gas_used, events))
        return receipt

    original = Federation.send
    with monkeypatch.context() as patch:
        patch.setattr(Federation, "send", send)
        game = Interleaving(fixture, Random(seed))
        game.play(40)
    return [*outcomes, game.money(), sorted(game.counts.items())]


def test_a_flat_chain_comes_to_what_py_evm_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare receipts, gas, reasons and money, whatever was played before."""
    flat = ProposalFixture(TERMS, miners=MINERS, kind=ledgers.BYTECODE)
    assert isinstance(flat.federation.chain, FlatChain)
    monkeypatch.setattr(ledgers, "FlatChain", PlainChain)
    real = ProposalFixture(TERMS, miners=MINERS, kind=ledgers.BYTECODE)
    assert not isinstance(real.federation.chain, FlatChain)
    outcomes = [played(flat, seed, monkeypatch) for seed in (3, 1, 3)]
    assert outcomes[0] == outcomes[2]
    assert outcomes[:2] == [played(real, seed, monkeypatch) for seed in (3, 1)]


def test_each_begins_on_the_chain_as_it_was_deployed() -> None:
    fixture = ProposalFixture(TERMS, miners=MINERS, kind=ledgers.BYTECODE)
    chain = fixture.federation.chain
    heights = []
    for number in range(3):
        interleaving = Interleaving(fixture, Random(number))
        heights.append(int(chain.request("eth_blockNumber"), 16))
        interleaving.play(6)
        assert int(chain.request("eth_blockNumber"), 16) > heights[0]
    assert len(set(heights)) == 1
