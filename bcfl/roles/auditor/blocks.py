"""Step 7: every block of the model ledger, its parent, its accepted set, and what it earned whom."""

from __future__ import annotations

from collections.abc import Iterator

from bcfl.protocol.rewards import block_hash, prices
from bcfl.protocol.transcript import Transcript
from bcfl.protocol.types import Block, Tally
from bcfl.protocol.verification import tally_digest
from bcfl.roles.auditor.reading import Case
from bcfl.roles.auditor.submissions import Found

ACCOUNT = (1 << 160) - 1


def check_block(case: Case, block: Block, stated: bytes, count: Tally) -> Iterator[Found]:
    """The block that a round added; `stated` is the hash that the log gives."""
    if block.accepted != tally_digest(count):
        yield "block.accepted", "it is not the tally of this round's votes"
    assert case.head is not None
    if block.parent != block_hash(case.head):
        yield "block.parent", "it is not the block before"
    if stated != block_hash(block):
        yield "block.hash", f"its fields hash to 0x{block_hash(block).hex()}"


def check_claims(
    case: Case, transcript: Transcript, count: Tally, accounts: dict[int, str]
) -> Iterator[Found]:
    """What was claimed of a round's shares is what was earned, once."""
    assert case.round is not None
    if case.round.block is None:
        if case.claims:
            yield "claims", "a claim of a round without a block"
        return
    price = prices(transcript.terms, case.round.block.reward, count)
    devices = {
        accounts.get(item.update.device): price.sample * item.update.samples for item in case.round.taken()
    }
    miners: dict[str, int] = {}
    for voter, matching in zip(count.voters, count.matches, strict=True):
        account = f"0x{voter & ACCOUNT:040x}"
        leads = account == case.round.block.leader.lower()
        miners[account] = price.verdict * matching + (price.leader if leads else 0)
    seen = set()
    for event in case.claims:
        account, as_miner = event.args["account"], event.args["as_miner"]
        due = miners.get(account.lower()) if as_miner else devices.get(account)
        if due is None or (account, as_miner) in seen:
            yield f"claims[{account}]", "it earned nothing in this round, or has claimed it before"
        elif event.args["amount"] != due:
            yield f"claims[{account}]", f"{event.args['amount']} wei claimed, {due} earned"
        seen.add((account, as_miner))
