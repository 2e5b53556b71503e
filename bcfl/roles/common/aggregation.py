"""Compute the model that accepted updates make of the one before; any two machines agree on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bcfl.protocol import aggregation, challenges, cid, merkle, payload
from bcfl.protocol.fixedpoint import Lanes, Model
from bcfl.protocol.rounds import Submission
from bcfl.protocol.types import Layout, Terms


@dataclass(frozen=True)
class NewModel:
    """Everything that a leader proposes: the model of a round's accepted updates and its digests.

    `key` seals it for the members; empty where models are public.
    """

    model: Model
    root: bytes
    cid: bytes
    rows: bytes
    round: int
    key: bytes = field(default=b"", repr=False)


def next_model(
    parent: Model,
    submissions: Sequence[Submission],
    updates: Sequence[Lanes],
    layout: Layout,
    terms: Terms,
    root_of: Callable[[bytes, Lanes], bytes],
    seal: Callable[[bytes, bytes], tuple[bytes, bytes]] = lambda data, _: (data, b""),
) -> NewModel:
    """Apply accepted updates, (updates, parameters), to a model, (parameters,), under the rule of the terms.

    `submissions` are theirs, in the same order: they say how much each update weighs. `root_of`
    takes the model as bytes and as integers. `seal` takes these bytes and the root, and returns what is
    stored, and its key.
    """
    samples = [item.weight for item in submissions]
    delta = aggregation.aggregate(terms.rule, updates, samples, terms.shift, terms.trim)
    model = aggregation.apply(parent, delta)
    rows = challenges.rows_digest(
        challenges.weights_digest(samples), merkle.rows_root(updates, terms.leaf_lanes)
    )
    data = payload.encode(layout, model)
    root = root_of(data, model)
    stored, key = seal(data, root)
    return NewModel(model, root, cid.digest(cid.compute(stored)), rows, submissions[0].update.round, key)
