"""List what an account has earned in finished rounds and not claimed, with the call that claims it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bcfl.ports import ContractCall
from bcfl.protocol import verification
from bcfl.protocol.limits import GROUP
from bcfl.protocol.rewards import prices, verdict_pay
from bcfl.protocol.rounds import History, Round
from bcfl.protocol.submissions import Domain
from bcfl.protocol.types import ACCOUNT, Block, Tally, Terms

Fields = tuple[object, ...]  # a struct of the contract


@dataclass(frozen=True)
class Claim:
    """One share of one finished round, and the call that proves and claims it."""

    round: int
    as_miner: bool
    position: int  # among the round's updates, or among its voters
    call: ContractCall
    tally: Tally  # of the round


def claim_calls(
    history: History, domain: Domain, account: str, rounds: Sequence[int] = ()
) -> list[ContractCall]:
    """Return the calls that credit an account with all it has earned, as a device and as a miner.

    `rounds` limits them to some rounds (none: all). Hand the calls to `Ledger.send` together.
    """
    return [claim.call for claim in claims(history, domain, account, rounds)]


def claims(history: History, domain: Domain, account: str, rounds: Sequence[int] = ()) -> Iterator[Claim]:
    """Yield what an account has earned and not claimed, round by round; `rounds` as for `claim_calls`.

    Some are worth nothing to the account, but give a part back to the pool: see `forfeit`.
    """
    device = history.device_index(account)
    numbers = sorted(set(rounds) & history.rounds.keys()) if rounds else history.rounds
    for round_ in (history.rounds[number] for number in numbers):
        if round_.block is None or not round_.block.reward:
            continue
        as_device = device is not None and (account, round_.number, False) not in history.claimed
        as_miner = (account, round_.number, True) not in history.claimed
        as_device = as_device and any(item.update.device == device for item in round_.accepted_submissions())
        as_miner = as_miner and any(vote.voter.account == account for vote in round_.votes)
        if not as_device and not as_miner:
            continue
        words = round_.words(domain)
        tally = round_.tally(domain)
        if as_device and device is not None:
            yield from _of_device(round_, round_.block, tally, words, device)
        if as_miner:
            yield from _of_miner(round_, round_.block, tally, account)


def _of_device(round_: Round, block: Block, tally: Tally, words: list[int], device: int) -> Iterator[Claim]:
    """Yield the share of a device whose update was accepted; the group of updates around it proves it."""
    for item in round_.accepted_submissions():
        if item.update.device == device:
            start = item.position // GROUP * GROUP
            group = words[start : start + GROUP]
            args = (fields(block), verification.tally_fields(tally), item.position, group)
            yield Claim(round_.number, False, item.position, ContractCall("claim_device", args), tally)


def _of_miner(round_: Round, block: Block, tally: Tally, account: str) -> Iterator[Claim]:
    """Yield the share of a miner that voted with the tally or led.

    One that did not attest gets nothing where proposals can be challenged: the claim gives its part back.
    """
    for position, voter in enumerate(tally.voters):
        earns = tally.matches[position] > 0 or account == block.leader
        if voter & ACCOUNT == int(account, 16) and earns:
            args = (fields(block), verification.tally_fields(tally), position)
            yield Claim(round_.number, True, position, ContractCall("claim_miner", args), tally)


def fields(block: Block) -> Fields:
    """Return a block in the order of the contract's struct."""
    return (
        block.parent,
        block.round,
        block.accepted,
        block.root,
        block.cid,
        block.leader,
        block.reward,
        block.engine,
        block.attested,
    )


def amount(claim: Claim, history: History, terms: Terms) -> int:
    """Return what a claim is worth, in wei."""
    round_ = history.rounds[claim.round]
    if round_.block is None:
        return 0
    tally = claim.tally
    price = prices(terms, round_.block.reward, tally)
    if not claim.as_miner:
        paid = {item.position: item.paid for item in round_.accepted_submissions()}
        return price.sample * paid.get(claim.position, 0)
    leads = tally.voters[claim.position] & ACCOUNT == int(round_.block.leader, 16)
    pay, _ = verdict_pay(terms, round_.block, tally, claim.position)
    return pay + (price.leader if leads else 0)


def forfeit(claim: Claim, history: History, terms: Terms) -> int:
    """Return what a claim gives back to the pool, in wei: it stays set aside until somebody claims it."""
    round_ = history.rounds[claim.round]
    if round_.block is None or not claim.as_miner:
        return 0
    _, back = verdict_pay(terms, round_.block, claim.tally, claim.position)
    return back
