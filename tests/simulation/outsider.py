"""An outsider that brings messages to inboxes: old ones, and such as their senders have never signed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

from bcfl.ports import Batch, SignedCommitment
from bcfl.protocol.hashing import keccak
from bcfl.protocol.types import Opening, SignedUpdate
from tests.simulation.faults import OUTSIDER

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.world import World

OLD_ROUNDS = 2  # after which an old message comes again
TRIES_SECONDS = (0.05, 0.5, 1.0, 1.5)  # after the round has opened: before its senders have new ones
Bring = Callable[["Process", object], None]  # to an inbox


@dataclass(frozen=True)
class OldMessage:
    """A message that is brought to everybody from a round on."""

    round: int
    message: object
    bring: Bring


def interfere(world: World, target: Process, message: object, bring: Bring) -> None:
    """Perhaps have an outsider keep a message that it has seen for later, or bring another one like it."""
    fault = world.strike("outsider", *OUTSIDER) if world.is_rough else None
    if fault is None:
        return
    if fault.kind == "message-old":
        world.old_messages.append(OldMessage(world.place[0] + OLD_ROUNDS, message, bring))
    else:
        world.later(0.0, lambda: bring(target, forged(message)))


def repeat_old(world: World) -> None:
    """Have the outsider bring old messages to every inbox at the beginning of a round."""
    due = [item for item in world.old_messages if item.round <= world.place[0]]
    world.old_messages = [item for item in world.old_messages if item.round > world.place[0]]
    targets = [process for process in world.processes if process.role in ("miner", "peer")]
    for item, target, seconds in product(due, targets, TRIES_SECONDS):
        world.later(seconds, partial(item.bring, target, item.message))


def forged(message: object) -> object:
    """Return a message with the name and the signature of another one, and other contents."""
    if isinstance(message, SignedCommitment):
        return replace(message, commitment=keccak(message.commitment))
    if isinstance(message, SignedUpdate):
        return replace(message, update=replace(message.update, samples=message.update.samples + 1))
    if isinstance(message, Batch):
        commitments, updates = tuple(map(keccak, message.commitments)), [None] * len(message.updates)
        return replace(message, commitments=commitments, updates=tuple(updates))
    assert isinstance(message, Opening)
    return replace(message, salt=keccak(message.salt))
