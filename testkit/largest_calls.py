"""Measure the calls that take the most gas: 64 miners, and the most that the terms or a call allow.

State is written by hand where it would take hundreds of transactions; the call itself is the contract's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from bcfl.ledger.contract import Receipt
from bcfl.protocol import merkle
from bcfl.protocol.challenges import ChallengeContext, SumChallenge, Trees, rows_digest
from bcfl.protocol.disputes import State
from bcfl.protocol.hashing import keccak
from bcfl.protocol.limits import LEVELS, MAX_MINERS, MAX_UPDATES
from bcfl.protocol.rewards import block_hash
from bcfl.protocol.types import Block, Engine, Rule, Tally
from bcfl.protocol.verification import tally_digest, tally_fields
from testkit.challenges import Cost, cost, cost_of, lone_place, put_attested, terms_of
from testkit.dispute_driver import ANSWERER, HEIGHT, INDEX, NODE, STATE
from testkit.harness import digest
from testkit.proposal_fixture import CID, WHOLE, ProposalFixture

MAX_CONTENT = 120_833  # bytes of a leaf that `answer_leaf` takes, more than those of any leaf of the terms
CHANGED, ENGINE = 64, 252  # shifts in the roster and in the clock

EVERYBODY = 2**MAX_MINERS - 1
Row = dict[str, int]  # gas by call


@cache
def full_house() -> tuple[ProposalFixture, ChallengeContext, SumChallenge]:
    """Return 64 miners before a wrong proposal of 20 updates and 1,000,000 parameters, and its challenge."""
    fixture = ProposalFixture(terms_of(20, 1_000_000, 16, 16, Rule.MEAN), MAX_MINERS)
    return fixture, *lone_place(fixture, 20)


def slashes() -> Row:
    """Return the gas of each way to refute a proposal that many have attested."""
    row = {
        f"challenge, {attesters} of 5 attested": cost(20, 1_000_000, 16, attesters=attesters).gas
        for attesters in (3, 5)
    }
    fixture, context, challenge = full_house()
    federation, outsider = fixture.federation, fixture.federation.outsider
    put_attested(fixture, context, MAX_MINERS)
    row["challenge, 64 of 64 attested"] = refutation(fixture.send(challenge))
    put_attested(fixture, context, MAX_MINERS - 1)
    let_the_last_lead(fixture)
    row["challenge, 63 attested, the 64th leads next"] = refutation(fixture.send(challenge), MAX_MINERS - 1)
    put_attested(fixture, context, MAX_MINERS)
    dispute(fixture, challenge)
    put_dispute(fixture, State.RULE, height=0, index=challenge.leaf)
    row["ruling in a dispute, 64 of 64 attested"] = refutation(fixture.open(challenge, right=1))
    put_attested(fixture, context, MAX_MINERS)
    dispute(fixture, challenge)
    federation.wait(max(fixture.terms.answer_seconds, fixture.terms.challenge_seconds))
    receipt = federation.send(outsider, "expire", 1, *fixture.votes())
    row["no answer in a dispute, 64 of 64 attested"] = refutation(receipt)
    return row


def refutation(receipt: Receipt, slashed: int = MAX_MINERS) -> int:
    """Return the gas of a call that has slashed so many; the next leads if somebody is left."""
    names = [event.name for event in receipt.events]
    assert names.count("Penalized") == slashed
    assert ("Elected" in names) == (slashed < MAX_MINERS)
    return receipt.gas_used


def let_the_last_lead(fixture: ProposalFixture) -> None:
    """Let the last seat weigh more than all others together, in a round whose engine reads all scores."""
    lead, clock = (fixture.storage.get(name) for name in ("election.lead", "rounds.clock"))
    fixture.storage.put(
        ("election.lead", None, lead + (fixture.miners << WHOLE)),
        ("rounds.clock", None, clock | Engine.RESOURCE << ENGINE),
    )


def dispute(fixture: ProposalFixture, challenge: SumChallenge) -> None:
    """Open the first dispute of the proposal that stands, of the tree of its model."""
    candidate, federation = challenge.candidate, fixture.federation
    rows = rows_digest(candidate.weights, candidate.rows)
    fields = (candidate.root, rows, Trees.MODEL)
    price = federation.contract.call("dispute_price")
    federation.send(federation.outsider, "dispute", *fields, value=price)


def put_dispute(
    fixture: ProposalFixture, state: State, height: int, index: int = 0, node: bytes = b""
) -> None:
    """Set the first dispute to a node of a tree, without going down to it."""
    fields = {STATE: state, HEIGHT: height, INDEX: index, NODE: int.from_bytes(node, "big")}
    for place, value in fields.items():
        fixture.storage.put_field("disputes.disputes", 1, place, value)


def largest_challenge(rule: Rule) -> Cost:
    """Measure the challenge of 1,024 updates of 2**40 parameters that 64 miners have attested.

    The price of its bytes (EIP-7623) is above all that the contract does.
    """
    fixture = ProposalFixture(terms_of(MAX_UPDATES, 2**40 - 1, 48, 16, rule), MAX_MINERS)
    context, challenge = lone_place(fixture, MAX_UPDATES)
    put_attested(fixture, context, MAX_MINERS)
    return cost_of(fixture, challenge)


def answers() -> Row:
    """Return the gas of the largest answers in a dispute, without a zero byte where none has to be."""
    fixture = ProposalFixture(terms_of(3, 2**40 - 1, 8, 32, Rule.MEAN))
    context, challenge = lone_place(fixture, 3)
    fixture.put_proposal(context)
    dispute(fixture, challenge)
    nodes, height = [b"\xff" * 32] * 2**LEVELS, len(challenge.proofs[0])
    put_dispute(fixture, State.ANSWER, height, node=merkle.top(b"".join(nodes), height - LEVELS, height))
    row = {"answer: 256 nodes, 29 levels above the leaves": answer(fixture, "answer", nodes)}
    content = b"\0" + b"\xff" * (MAX_CONTENT - 1)
    put_dispute(fixture, State.ANSWER, height=0, node=keccak(content))
    row["answer_leaf: 120,833 bytes"] = answer(fixture, "answer_leaf", content)
    return row


def answer(fixture: ProposalFixture, function: str, shown: object) -> int:
    """Return the gas of an answer in the first dispute."""
    return fixture.federation.send(ANSWERER, function, 1, shown).gas_used


def ends() -> Row:
    """Return the gas of the end of a round of 64 miners, by what changes in the next one."""
    stakes = {
        "finalize, 64 of 64 attested": None,
        "finalize, and 64 weights change": 4,
        "finalize, and 64 seats are freed": 0,
    }
    fixture, context, challenge = full_house()
    federation, candidate, row = fixture.federation, challenge.candidate, Row()
    rows = rows_digest(candidate.weights, candidate.rows)
    for name, count in stakes.items():
        fixture.put_proposal(context, EVERYBODY)
        if count is not None:
            put_stakes(fixture, count)
        federation.wait(fixture.terms.challenge_seconds)
        receipt = federation.send(federation.outsider, "finalize", candidate.root, CID, rows)
        assert receipt.events[-1].name == "RoundOpened"
        row[name] = receipt.gas_used
    return row


def put_stakes(fixture: ProposalFixture, stakes: int) -> None:
    """Let every miner have so many minimum stakes, less one wei, from the next round on."""
    slots, wei = fixture.storage, max(0, stakes * fixture.terms.min_stake - 1)
    slots.put(
        ("registry.roster", None, slots.get("registry.roster") | EVERYBODY << CHANGED),
        *(("registry.stakes", int(key.address, 16), wei) for key in fixture.federation.miner_keys),
    )


def claims() -> Row:
    """Return the gas of first claims by miners: of the largest round, and as many as fit a call."""
    fixture, context, _ = full_house()
    fixture.put_proposal(context)
    largest = lone_place(fixture, MAX_UPDATES)[1].tally
    small = replace(
        largest,
        checkpoints=largest.checkpoints[:1],
        voters=largest.voters[:12],
        matches=largest.matches[:12],
        levels=largest.levels[:20],
    )
    return {
        "claims of 3 of 64 miners, 1,024 updates": claim(fixture, largest, miners=3, transactions=1),
        "claims of all 64, 22 transactions": claim(fixture, largest, miners=64, transactions=22),
        "claims of 12 miners, 20 updates": claim(fixture, small, miners=12, transactions=1),
    }


def claim(fixture: ProposalFixture, tally: Tally, miners: int, transactions: int) -> int:
    """Return the gas of the claims of the first voters of a round with this tally, together."""
    federation, leader = fixture.federation, fixture.federation.miner_keys[0].address
    fields = (digest("parent"), 1, tally_digest(tally), digest("root"), digest("cid"), leader)
    block = Block(*fields, reward=fixture.terms.reward, attested=EVERYBODY)
    fixture.put_proposal(fixture.context)
    fixture.storage.put(("rounds.ledger", 1, int.from_bytes(block_hash(block), "big")))
    calls = [("claim_miner", [block, tally_fields(tally), position]) for position in range(miners)]
    height = int(federation.chain.request("eth_blockNumber"), 16)
    federation.gas.clear()
    federation.multi(federation.outsider, "claims", calls)
    assert int(federation.chain.request("eth_blockNumber"), 16) == height + transactions
    assert len(list(federation.contract.events(height + 1, name="Claimed"))) == miners
    return federation.gas["claims"]


ROWS: dict[str, Callable[[], Row]] = {"slashes": slashes, "ends": ends, "claims": claims, "answers": answers}
