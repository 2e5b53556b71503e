"""Let the twin rule on what a call shows of a proposal; what does not open reverts with the twin's reason."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bcfl.errors import ChallengeError, Reverted
from bcfl.protocol.challenges import ChallengeContext
from bcfl.specification.call import Call


@contextmanager
def reverting() -> Iterator[None]:
    """Revert where the twin says that something does not open."""
    try:
        yield
    except ChallengeError as error:
        raise Reverted(str(error)) from error


def context_of(call: Call, proposal: bytes) -> ChallengeContext:
    """Return what the twin has to know of the running round and of the proposal with this digest."""
    state = call.state
    round_, accepted = state.rounds.clock.round, state.verification.accepted
    return ChallengeContext(call.terms, call.domain, round_, proposal, state.proposals.root, accepted)
