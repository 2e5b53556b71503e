"""The test vectors of docs/specification.md: bytecode and specification come to what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bcfl.specification import vectors
from bcfl.specification.vectors import Step, dump, load
from testkit.accounts import account
from testkit.ledgers import BYTECODE, deployed

FOLDER = Path(__file__).parents[2] / "vectors"
FILES = sorted(FOLDER.glob("*.json"))
NAMES = ("owner", "outsider", *("device", "miner", "late") * 6)
KEYS = {key.address: key for name in set(NAMES) for key in (account(name, i) for i in range(8))}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_specification_reproduces_a_vector(path: Path) -> None:
    assert vectors.check(path) is None
    vector, outcomes = load(path.read_text())
    assert dump(vector, outcomes) == path.read_text()


@pytest.mark.evm("the bytecode itself")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_bytecode_reproduces_a_vector(path: Path) -> None:
    vector, expected = load(path.read_text())
    owner = KEYS[vector.accounts[0]]
    genesis = owner, vector.terms, vector.root, vector.cid, vector.pool
    chain, contract, _, _ = deployed(BYTECODE, vector.accounts, *genesis)

    def prepare(step: Step) -> None:
        chain.warp(step.time)
        if step.function == "tally":
            assert chain.request("eth_getBlockByNumber", "latest", False)["hash"] == "0x" + step.parent.hex()

    outcomes = vector.play(contract, prepare, KEYS.__getitem__)
    for place, (outcome, wanted) in enumerate(zip(outcomes, expected, strict=True)):
        assert outcome == wanted, (place, vector.steps[place].function)


def test_vectors_are_of_all_engines_and_ends_and_small() -> None:
    outcomes = [outcome for path in FILES for outcome in load(path.read_text())[1]]
    kinds = {event[0] for outcome in outcomes for event in outcome.get("events", [])}
    rounds = {"Tallied", "Elected", "Finalized", "Voided", "Skipped", "Penalized", "Claimed", "Withdrawn"}
    contests = {
        "ChallengeAnnounced", "AnnouncementEnded", "ChallengeFailed", "Refuted", "Disputed", "RowsShown",
        "NodesShown", "LeafShown", "Pursued", "DisputeEnded",
    }  # fmt: skip
    assert kinds >= rounds | contests
    assert sum(path.stat().st_size for path in FILES) < 450_000


def test_a_changed_vector_is_noticed(tmp_path: Path) -> None:
    """Each line that says what a call comes to counts."""
    content = json.loads(FILES[0].read_text())
    events = next(call["events"] for call in content["calls"] if call.get("events"))
    events[0][0] += "Other"
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(content))
    assert "Other" in str(vectors.check(changed))
    assert vectors.main([str(changed)]) == 1
    assert vectors.main(["--write", str(changed)]) == 0
    assert vectors.main([str(changed)]) == 0
    assert load(changed.read_text()) == load(FILES[0].read_text())
