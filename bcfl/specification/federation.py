"""Put a federation together: the constructor, several calls in one, and which functions there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Final

from bcfl.errors import Reverted
from bcfl.specification import (
    challenge_facet,
    dispute_facet,
    election,
    membership_facet,
    proposals,
    rounds,
    settlement_facet,
    submissions,
    terms,
    treasury,
    verification,
)
from bcfl.specification.call import Call, Facet, Function, Invocation, panic, require

FACET: Final = Facet(
    writes=(
        proposals.attest,
        proposals.correct_cid,
        proposals.finalize,
        proposals.propose,
        rounds.advance,
        submissions.commit,
        submissions.reveal,
        verification.commit_vote,
        verification.unveil,
    ),
    payable=(treasury.fund,),
    views=(proposals.model, rounds.round_clock),
)
FACETS: Final = (
    FACET,
    settlement_facet.FACET,
    membership_facet.FACET,
    challenge_facet.FACET,
    dispute_facet.FACET,
)
FUNCTIONS: Final = {
    function.__name__: function
    for facet in FACETS
    for function in (*facet.writes, *facet.payable, *facet.views)
}
PAYABLE: Final = frozenset(function.__name__ for facet in FACETS for function in facet.payable)
VIEWS: Final = frozenset(function.__name__ for facet in FACETS for function in facet.views)


def construct(call: Call, root: bytes, cid: bytes) -> None:
    """Fix the terms and the genesis model; what is sent fills the pool."""
    terms.check(call.terms)
    call.state.registry.owner = call.sender
    call.state.registry.next_engine = call.terms.engine
    rounds.construct(call, root, cid)
    election.construct(call)
    proposals.construct(call, root, cid)
    call.state.treasury.pool = call.value


def several(
    call: Call,
    invocations: Iterable[Invocation],
    optional: int,
    functions: Mapping[str, Function] = FUNCTIONS,
) -> None:
    """Make several calls in one transaction: all of them, or none but for those that may fail.

    `optional`: the mask of the calls that may fail, for somebody else may have done the same before.
    """
    for place, invocation in enumerate(invocations):
        if optional >> place & 1:
            with suppress(Reverted):
                call.attempt(_invoke, invocation, functions)
        else:
            _invoke(call, invocation, functions)


def _invoke(call: Call, invocation: Invocation, functions: Mapping[str, Function]) -> None:
    """Make one of several calls; one that the contract does not have reverts."""
    require(invocation.function != "nothing", "federation: no such function")
    if (function := functions.get(invocation.function)) is None:
        panic()
    function(call, *invocation.args)
