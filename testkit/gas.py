"""Measure the gas of a steady round, call by call, and of what happens seldom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from bcfl.ledger.artifact import FACETS
from bcfl.protocol.challenges import Trees
from bcfl.protocol.types import Engine, Mode, Phase, Rule
from testkit import largest_calls
from testkit.dispute_driver import DisputeDriver
from testkit.harness import CHALLENGED, TERMS, Federation
from testkit.largest_calls import Row
from testkit.largest_tally import CASES, LargestTally
from testkit.proposal_fixture import ProposalFixture

HINT = "gas has changed; if it is meant, run `python -m benchmarks.gas --write` and commit the snapshot"
SNAPSHOT = Path(__file__).parents[1] / "benchmarks" / "gas_snapshot.json"


class Size(NamedTuple):
    """A federation to measure; in `full` the miners are the devices, in `hybrid` all votes carry a wish."""

    devices: int
    miners: int
    engine: Engine = Engine.STAKE
    mode: Mode = Mode.PARTIAL

    @property
    def participants(self) -> int:
        """The accounts that take part."""
        return self.devices if self.mode is Mode.FULL else self.devices + self.miners

    def __str__(self) -> str:
        mode = "" if self.mode is Mode.PARTIAL else f"{self.mode.name.lower()} "
        return f"{self.devices}/{self.miners} {mode}{self.engine.name.lower()}"


LARGEST = (*largest_calls.ROWS, "largest challenge", "largest tally")  # rows of the snapshot
GOALS = {Size(20, 5): 45_000, Size(60, 5): 25_000, Size(200, 8): 17_000}
SIZES = [
    *GOALS,
    Size(20, 5, Engine.POW),
    Size(20, 5, Engine.RESOURCE),
    Size(20, 5, Engine.COMMITTEE),
    Size(20, 20, Engine.RESOURCE, Mode.FULL),
    Size(20, 5, Engine.STAKE, Mode.HYBRID),
]
ROUNDS_BEFORE = 2  # slots that a federation fills once are filled then


def steady_round(size: Size) -> Row:
    """Return the gas of each call of the third round, all transactions of a call together."""
    terms = replace(TERMS, engine=size.engine, mode=size.mode, pow_target=2**253)
    federation = Federation(size.devices, size.miners, terms, full=size.mode is Mode.FULL).open()
    for _ in range(ROUNDS_BEFORE):
        federation.finish()
    federation.gas.clear()
    play(federation)
    return dict(federation.gas)


def play(federation: Federation) -> None:
    """Play one round as the roles do."""
    batcher = federation.miner_keys[0]
    federation.commit_all()
    batches = [
        ("reveal", [key.address, *federation.reveal_args(federation.share(index))])
        for index, key in enumerate(federation.miner_keys)
    ]
    federation.multi(batcher, "reveal, all batches", batches)
    wish = Engine.STAKE if federation.terms.mode == Mode.HYBRID else None
    openings = [replace(federation.opening(index), wish=wish) for index in federation.jury()]
    for opening in openings:
        federation.commit_vote(opening)
    votes = [federation.history().vote(opening) for opening in openings]
    federation.tallies[federation.clock.round] = federation.twin_tally(votes)
    unveils = [("unveil", federation.unveil_args(opening)) for opening in openings]
    federation.multi(
        batcher, "unveil, all votes, and tally", [*unveils, ("tally", federation.tally_args(votes))]
    )
    if federation.clock.phase is Phase.ELECT:
        federation.solve()
    federation.propose()
    leader = federation.leader().address
    voters = [federation.miner_keys[index] for index in federation.jury()]
    attesters = [key for key in voters if key.address != leader]
    current = federation.history().current
    assert current is not None
    # As few as decide, beside the leader; all weigh the same here.
    attestations = next(count for count in range(len(voters)) if current.electorate.decides(count + 1))
    for key in attesters[: attestations - 1]:
        federation.send(key, "attest", federation.proposal_digest())
    last = [("attest", [federation.proposal_digest()]), ("finalize", federation.proposal())]
    federation.multi(attesters[attestations - 1], "attest and finalize", last)


def rare_calls() -> Row:
    """Return the gas of what happens once or seldom, with 20 devices and 5 miners."""
    row: Row = {}
    federation = Federation(20, 5)
    parts = [*(name for name, _ in FACETS), "Federation"]
    for part, receipt in zip(parts, federation.deployed, strict=True):
        row[f"deploy {part}"] = receipt.gas_used
    federation.open()
    receipts = federation.receipts
    row["register 20 devices"] = receipts["register_devices"][0].gas_used
    row["register a miner"] = receipts["register_miner"][-1].gas_used
    row["start"] = receipts["start"][0].gas_used
    row["commit by a device alone"] = federation.commit(
        federation.device_keys[0], [federation.update(0)]
    ).gas_used
    for _ in range(10):
        federation.finish()
    row |= claims(federation)
    federation.until(Phase.PROPOSE).expire()
    row["skip a late leader"] = federation.send(federation.outsider, "skip", *federation.skip_args()).gas_used
    row["top up"] = federation.send(federation.miner_keys[0], "top_up", value=TERMS.min_stake).gas_used
    row["a device leaves"] = federation.send(
        federation.owner, "leave_device", federation.device_keys[1].address
    ).gas_used
    row["a miner leaves"] = federation.send(federation.miner_keys[1], "leave_miner").gas_used
    federation.push()
    federation.expire()
    row["advance"] = federation.send(federation.outsider, "advance").gas_used
    federation.push().push().push()
    row["release a stake"] = federation.send(federation.miner_keys[1], "release_stake").gas_used
    return row


def claims(federation: Federation) -> Row:
    """Return the gas of claims: of the first one, and of nine more rounds in one go."""
    outsider, row = federation.outsider, {}
    for role, account in (("device", federation.device_keys[0]), ("miner", federation.miner_keys[0])):
        rounds = {n: getattr(federation, f"claim_{role}_args")(n, 0) for n in range(1, 11)}
        first = federation.send(outsider, f"claim_{role}", *rounds.pop(1))
        row[f"claim by a {role}, its first"] = first.gas_used
        federation.gas.clear()
        federation.multi(outsider, "nine", [(f"claim_{role}", args) for args in rounds.values()])
        row[f"claim by a {role}, nine more rounds"] = federation.gas["nine"]
        receipt = federation.send(outsider, "withdraw", account.address)
        row[f"withdraw by a {role}"] = receipt.gas_used
    return row


def dispute_calls() -> Row:
    """Return the gas of each move of a dispute: 20 updates, 11,200 parameters in 700 leaves of 16."""
    terms = replace(CHALLENGED, parameters=11_200, leaf_lanes=16, max_updates=64)
    fixture, row = ProposalFixture(terms), {}
    evidence = fixture.evidence(5, [True] * 20)
    driver = DisputeDriver(fixture, evidence, Trees.ROWS)
    row["open a dispute"] = driver.open().gas_used
    row["show what is behind the rows"] = driver.answer().gas_used
    row["show 175 nodes"] = driver.answer().gas_used
    row["pick one of them"] = driver.pursue(3).gas_used
    driver.answer()
    driver.pursue(1)
    row["show a leaf of 20 updates"] = driver.answer().gas_used
    driver = DisputeDriver(fixture, evidence, Trees.UPDATE)
    row["open a dispute of an update"] = driver.open().gas_used
    driver = DisputeDriver(fixture, evidence, Trees.MODEL)
    driver.open()
    driver.wait_out()
    row["refute in default of an answer"] = driver.expire().gas_used
    return row


def largest_challenges() -> Row:
    """Return the gas of the largest challenge under each rule."""
    return {rule.name.lower(): largest_calls.largest_challenge(rule).gas for rule in Rule}


def largest_tallies() -> Row:
    """Return the gas of the largest tallies."""
    return {str(case): LargestTally(case).send()[0] for case in CASES}


def measure() -> dict[str, Row]:
    """Return everything that the snapshot holds."""
    rows = {str(size): steady_round(size) for size in SIZES}
    rows |= {"rare": rare_calls(), "dispute": dispute_calls()}
    rows |= {name: row() for name, row in largest_calls.ROWS.items()}
    return {**rows, "largest challenge": largest_challenges(), "largest tally": largest_tallies()}


def table(size: Size, row: Mapping[str, int]) -> str:
    """Return the gas of one size as text."""
    participants, total, goal = size.participants, sum(row.values()), GOALS.get(size)
    parties = f"{size.devices} devices, {size.miners} miners"
    lines = [f"{parties}, {size.mode.name.lower()}, {size.engine.name.lower()}"]
    lines += [f"  {call:<32}{gas:>12,}{gas / participants:>12,.0f}" for call, gas in row.items()]
    lines.append(f"  {'all, and per participant':<32}{total:>12,}{total / participants:>12,.0f}")
    return "\n".join(lines) + (f"   goal {goal:,}" if goal else "")
