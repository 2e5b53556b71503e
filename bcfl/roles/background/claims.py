"""Step 7 for whoever earned something: what to hand in for every finished round that is not claimed yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bcfl.ports import ContractCall
from bcfl.protocol import verification
from bcfl.protocol.rewards import prices
from bcfl.protocol.rounds import History, Round
from bcfl.protocol.submissions import GROUP, Domain
from bcfl.protocol.types import Block, Tally, Terms

Fields = tuple[object, ...]  # a struct of the contract
ACCOUNT = (1 << 160) - 1


@dataclass(frozen=True)
class Claim:
    """One share of one finished round, with what proves it."""

    round: int
    as_miner: bool
    position: int  # among the round's updates, or among its voters
    step: ContractCall


def claim_calls(
    history: History, domain: Domain, account: str, rounds: Sequence[int] = ()
) -> list[ContractCall]:
    """The calls that credit `account` with all it has earned and not claimed, as a device and as a miner.

    `rounds` names the rounds to look at (none: all of them); hand them to `Ledger.send` together.
    """
    return [claim.step for claim in claims(history, domain, account, rounds)]


def claims(history: History, domain: Domain, account: str, rounds: Sequence[int] = ()) -> Iterator[Claim]:
    """What an account has earned and not claimed, round by round."""
    device = history.device_index(account)
    for found in history.rounds.values():
        if found.block is None or not found.block.reward:
            continue
        if rounds and found.number not in rounds:
            continue
        as_device = device is not None and (account, found.number, False) not in history.claimed
        as_miner = (account, found.number, True) not in history.claimed
        as_device = as_device and any(item.update.device == device for item in found.taken())
        as_miner = as_miner and any(vote.voter.account == account for vote in found.votes)
        if not as_device and not as_miner:
            continue
        words = found.words(domain)
        count = verification.tally(words, found.votes, found.engine)
        if as_device and device is not None:
            yield from _of_device(found, found.block, count, words, device)
        if as_miner:
            yield from _of_miner(found, found.block, count, account)


def _of_device(found: Round, block: Block, count: Tally, words: list[int], device: int) -> Iterator[Claim]:
    """The share of a device whose update was accepted, proven by the group of updates that it stands in."""
    for item in found.taken():
        if item.update.device == device:
            start = item.position // GROUP * GROUP
            group = words[start : start + GROUP]
            args = (fields(block), verification.tally_fields(count), item.position, group)
            yield Claim(found.number, False, item.position, ContractCall("claim_device", args))


def _of_miner(found: Round, block: Block, count: Tally, account: str) -> Iterator[Claim]:
    """The share of a miner that voted, or led; what comes to nothing is not worth a claim."""
    for position, voter in enumerate(count.voters):
        earns = count.matches[position] > 0 or account == block.leader
        if voter & ACCOUNT == int(account, 16) and earns:
            args = (fields(block), verification.tally_fields(count), position)
            yield Claim(found.number, True, position, ContractCall("claim_miner", args))


def fields(block: Block) -> Fields:
    """A block in the order of the contract's struct."""
    return (
        block.parent,
        block.round,
        block.accepted,
        block.root,
        block.cid,
        block.leader,
        block.reward,
        block.engine,
    )


def amount(claim: Claim, history: History, domain: Domain, terms: Terms) -> int:
    """What a claim is worth, in wei."""
    found = history.rounds[claim.round]
    if found.block is None:
        return 0
    words = found.words(domain)
    count = verification.tally(words, found.votes, found.engine)
    price = prices(terms, found.block.reward, count)
    if not claim.as_miner:
        return price.sample * found.submissions[claim.position].update.samples
    leads = count.voters[claim.position] & ACCOUNT == int(found.block.leader, 16)
    return price.verdict * count.matches[claim.position] + (price.leader if leads else 0)
