"""The blocks of the model ledger: hash, parent, accepted set, and the wei that each account earned."""

from __future__ import annotations

from collections.abc import Iterator

from bcfl.protocol.rewards import block_hash, prices, verdict_pay
from bcfl.protocol.transcript import Transcript
from bcfl.protocol.types import Block, Tally
from bcfl.protocol.verification import tally_digest
from bcfl.roles.auditor.replay import Case
from bcfl.roles.auditor.verdict import Issue


def check_block(case: Case, block: Block, logged_hash: bytes, tally: Tally) -> Iterator[Issue]:
    """Check the block that a round added, and the hash that its event gives."""
    if block.accepted != tally_digest(tally):
        yield "block.accepted", "it is not the tally of this round's votes"
    assert case.head is not None
    if block.parent != block_hash(case.head):
        yield "block.parent", "it is not the block before"
    if logged_hash != block_hash(block):
        yield "block.hash", f"its fields hash to 0x{block_hash(block).hex()}"


def check_claims(
    case: Case, transcript: Transcript, tally: Tally, accounts: dict[int, str]
) -> Iterator[Issue]:
    """Check that each account claimed what it earned in a round, at most once."""
    assert case.round is not None
    if case.round.block is None:
        if case.claims:
            yield "claims", "a claim of a round without a block"
        return
    price = prices(transcript.terms, case.round.block.reward, tally)
    devices = {
        accounts.get(item.update.device): price.sample * item.paid
        for item in case.round.accepted_submissions()
    }
    miners: dict[str, int] = {}
    for position, vote in enumerate(case.round.votes):
        account, (pay, _) = (
            vote.voter.account,
            verdict_pay(transcript.terms, case.round.block, tally, position),
        )
        miners[account] = pay + (price.leader if account == case.round.block.leader else 0)
    keys = set()
    for event in case.claims:
        account, as_miner = event.args["account"], event.args["as_miner"]
        due = miners.get(account) if as_miner else devices.get(account)
        if due is None or (account, as_miner) in keys:
            yield f"claims[{account}]", "it earned nothing in this round, or has claimed it before"
        elif event.args["amount"] != due:
            yield f"claims[{account}]", f"{event.args['amount']} wei claimed, {due} earned"
        keys.add((account, as_miner))
