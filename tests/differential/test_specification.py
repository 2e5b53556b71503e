"""Whole random rounds on the bytecode and on the specification: each call comes to the same on both.

Compared after every call: the reason of a revert, or the events; the storage; the balances of everybody. At
the end, and now and then, all views. HYPOTHESIS_PROFILE=explore plays for long.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import fields, replace
from random import Random

import pytest

from bcfl.errors import Reverted
from bcfl.ledger.artifact import artifact
from bcfl.ledger.contract import Contract
from bcfl.ledger.devnet.embedded import EmbeddedChain
from bcfl.protocol.types import Engine, Mode, Terms
from bcfl.specification import terms as specified
from testkit.accounts import account
from testkit.pair import Pair
from testkit.random_rounds import RandomRounds
from testkit.terms import CHALLENGED, TERMS

IS_LONG = os.environ.get("HYPOTHESIS_PROFILE") == "explore"
SEEDS = range(40) if IS_LONG else range(1)
STEPS = 200 if IS_LONG else 80

EXTREMES = (0, 1, 2, 3, 2**22, 2**22 + 1, 2**31, 2**96, 2**128, 2**255, 2**256 - 1)
FIELDS = [field.name for field in fields(Terms) if field.name != "layout"]


@pytest.mark.parametrize("engine", Engine)
@pytest.mark.parametrize("mode", Mode)
def test_random_rounds_come_to_the_same(engine: Engine, mode: Mode) -> None:
    counts: Counter[str] = Counter()
    for seed in SEEDS:
        rounds = RandomRounds(seed, engine, mode, counts=counts)
        rounds.play(STEPS)
        contract = rounds.f.contract
        assert isinstance(contract, Pair)
        contract.compare("at the end")
        contract.compare_views(1)
    assert counts["RoundOpened"]
    assert counts["Voted"]
    assert any(name.startswith("reverted") for name in counts)


def test_terms_are_refused_for_the_same_reasons() -> None:
    """One field, or two, at the ends of its type; a facet refuses what the federation would."""
    owner, rng, content = account("owner"), Random(1), artifact()
    chain = EmbeddedChain(None, accounts=[owner.address])
    code = bytes.fromhex(content["bytecode"]["DisputeFacet"][2:])
    reasons: Counter[str] = Counter()

    def reason_on_bytecode(terms: Terms) -> str:
        try:
            Contract.deploy(chain, owner, content["constructors"]["DisputeFacet"], code, [terms])
        except Reverted as error:
            return str(error)
        return "taken"

    def reason_on_specification(terms: Terms) -> str:
        try:
            specified.check(terms)
        except Reverted as error:
            return str(error)
        return "taken"

    names = FIELDS * (len(EXTREMES) if IS_LONG else 1) + rng.choices(FIELDS, k=30)
    for place, name in enumerate(names):
        changes = {name: rng.choice(EXTREMES)}
        if place >= len(FIELDS):
            changes[rng.choice(FIELDS)] = rng.choice(EXTREMES)
        terms = replace(rng.choice((TERMS, CHALLENGED)), **changes)  # type: ignore[arg-type]
        expected = reason_on_bytecode(terms)
        assert reason_on_specification(terms) == expected, changes
        reasons[expected] += 1
    assert len(reasons) > 12
    assert reasons["taken"]
    assert reasons["reverted without a reason"]
