"""Generate proposals, right or wrong in every way that a leader can think of, and hostile challenges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from random import Random
from typing import Any

import numpy as np

from bcfl.errors import ChallengeError
from bcfl.protocol import aggregation, merkle
from bcfl.protocol.challenges import (
    Candidate,
    Challenge,
    ChallengeContext,
    LeafChallenge,
    PaddingChallenge,
    Trees,
    WeightsChallenge,
    weights_digest,
)
from bcfl.protocol.evidence import Evidence, Leaves, Vectors
from bcfl.protocol.fixedpoint import Lanes, Model, lane_dtype
from bcfl.protocol.limits import TOP_LEVEL
from bcfl.protocol.submissions import Domain, checkpoints, claim_cap, update_word
from bcfl.protocol.types import Rule, Tally, Terms, Update
from bcfl.protocol.verification import mean_weights, tally_digest
from testkit.harness import CHALLENGED

DOMAIN = Domain(31337, "0x" + "11" * 20)
VOTERS = (1 << 160 | 0xA1, 1 << 160 | 0xB2, 1 << 160 | 0xC3)
WIDTHS = (32, 16, 8)


@dataclass(frozen=True)
class Case:
    """The parts that a leader puts a proposal together from."""

    terms: Terms
    parent_model: Model
    lanes: Sequence[Lanes]  # accepted
    samples: Sequence[int]  # weights of the accepted updates

    def model(self) -> Model:
        """Return the model that the accepted updates come to."""
        return aggregation.apply(self.parent_model, self.delta())

    def delta(self) -> Model:
        terms = self.terms
        return aggregation.aggregate(terms.rule, self.lanes, self.samples, terms.shift, terms.trim)


@dataclass(frozen=True)
class Setting:
    """What ties a generated proposal to a chain and a round."""

    domain: Domain = DOMAIN
    voters: tuple[int, ...] = VOTERS
    round: int = 1


def random_terms(rng: Random, rule: int | None = None, lane_bits: int | None = None) -> Terms:
    """Return terms of any rule, width and size that a tree of a few leaves has room for."""
    width = lane_bits or rng.choice(WIDTHS)
    leaf = rng.choice((1, 1, 2, 4)) * 256 // width
    return replace(
        CHALLENGED,
        parameters=rng.choice((1, leaf, rng.randint(1, 5 * leaf), rng.randint(1, 12 * leaf))),
        lane_bits=width,
        shift=rng.randint(0, 32 - width),
        leaf_lanes=leaf,
        rule=rng.randrange(3) if rule is None else rule,
        trim=rng.choice((0, 1000, 2500, 4999)),
        max_updates=64,
    )


def random_lanes(rng: Random, terms: Terms, lane_bits: int) -> Lanes:
    """Return lanes, shape (parameters,): of the whole range, of few values that tie, or of its ends alone."""
    dtype = lane_dtype(lane_bits)
    bounds = np.iinfo(dtype)
    source = np.random.default_rng(rng.getrandbits(64))
    kind = rng.randrange(3)
    if kind == 0:
        return source.integers(bounds.min, bounds.max, terms.parameters, dtype, endpoint=True)
    if kind == 1:
        return source.integers(-3, 3, terms.parameters, dtype, endpoint=True)
    return source.choice(np.array([bounds.min, bounds.min + 1, 0, bounds.max], dtype), terms.parameters)


def evidence(rng: Random, terms: Terms, updates: int, setting: Setting | None = None) -> Evidence:
    """Make a right proposal over `updates` updates, of which at least one is accepted."""
    accepted = [rng.random() < 0.8 for _ in range(updates)]
    accepted[rng.randrange(updates)] = True
    lanes = [random_lanes(rng, terms, terms.lane_bits) for bit in accepted if bit]
    return assemble(rng, terms, random_lanes(rng, terms, 32), lanes, accepted, setting or Setting())


def assemble(
    rng: Random,
    terms: Terms,
    old_model: Model,
    lanes: Sequence[Lanes],
    accepted: Sequence[bool],
    setting: Setting,
) -> Evidence:
    """Assemble the right proposal of these vectors."""
    roots = iter([merkle.root(item, terms.leaf_lanes) for item in lanes])
    updates = [
        Update(
            setting.round,
            position,
            next(roots) if bit else rng.randbytes(32),
            rng.randbytes(32),
            rng.randint(1, terms.max_samples),
            rng.randint(0, 10**6),
            rng.getrandbits(128),
        )
        for position, bit in enumerate(accepted)
    ]
    words = [update_word(setting.domain, update) for update in updates]
    claims = [update.samples for update in updates]
    tally = Tally(
        checkpoints(words),
        rng.randbytes(32),
        setting.voters,
        (1,) * len(setting.voters),
        tuple((1 + position % TOP_LEVEL) * bit for position, bit in enumerate(accepted)),
        claim_cap(claims),
        sum(claims),
    )
    samples = list(mean_weights(tally, claims))
    case = Case(terms, old_model, lanes, samples)
    model, rows = Vectors([case.model()], terms.leaf_lanes), Vectors(lanes, terms.leaf_lanes)
    candidate = Candidate(model.root, weights_digest(samples), rows.root)
    root, accepted_digest = merkle.root(old_model, terms.leaf_lanes), tally_digest(tally)
    proposal = candidate.digest(setting.round, accepted_digest)
    context = ChallengeContext(terms, setting.domain, setting.round, proposal, root, accepted_digest)
    return Evidence(context, candidate, tally, words, updates, lanes, old_model, model, rows)


def case_of(right: Evidence) -> Case:
    return Case(right.context.terms, right.parent_model, right.lanes, right.samples)


def with_parts(right: Evidence, **parts: Any) -> Evidence:
    """Return the same round with other parts proposed: `model`, `rows` (sources) or `weights` (a digest)."""
    weights = parts.pop("weights", right.candidate.weights)
    model, rows = parts.get("model", right.model), parts.get("rows", right.rows)
    candidate = replace(right.candidate, root=model.root, rows=rows.root, weights=weights)
    proposal = candidate.digest(right.context.round, right.context.accepted)
    context = replace(right.context, proposal=proposal)
    return replace(right, context=context, candidate=candidate, **parts)


def with_model(right: Evidence, model: Model) -> Evidence | None:
    if np.array_equal(model, right.model.vectors[0]):  # type: ignore[attr-defined]
        return None
    return with_parts(right, model=Vectors([model], right.context.terms.leaf_lanes))


# What a leader may do; None where it comes to the right proposal.


def one_lane_off_by_one(rng: Random, right: Evidence) -> Evidence | None:
    model = case_of(right).model()
    lane = rng.randrange(len(model))
    model[lane] += 1 if model[lane] < 0 else -1
    return with_model(right, model)


def swapped_leaves(rng: Random, right: Evidence) -> Evidence | None:
    name = rng.choice(("model", "rows"))
    source = getattr(right, name)
    leaves = [source.leaf(index) for index in range(right.context.leaves)]
    first_place, second_place = rng.randrange(len(leaves)), rng.randrange(len(leaves))
    if leaves[first_place] == leaves[second_place]:
        return None
    leaves[first_place], leaves[second_place] = leaves[second_place], leaves[first_place]
    return with_parts(right, **{name: Leaves(leaves, right.context.leaves)})


def dropped_update(rng: Random, right: Evidence) -> Evidence | None:
    if len(right.lanes) == 1:
        return None
    position = rng.randrange(len(right.lanes))
    lanes = [item for place, item in enumerate(right.lanes) if place != position]
    samples = [item for place, item in enumerate(right.samples) if place != position]
    model = replace(case_of(right), lanes=lanes, samples=samples).model()
    kind = rng.randrange(3)
    if kind == 0:
        return with_model(right, model)
    leaf_lanes = right.context.terms.leaf_lanes
    parts: dict[str, Any] = {"model": Vectors([model], leaf_lanes), "rows": Vectors(lanes, leaf_lanes)}
    return with_parts(right, **parts, **({"weights": weights_digest(samples)} if kind == 2 else {}))


def wrong_weight(rng: Random, right: Evidence) -> Evidence | None:
    samples = list(right.samples)
    samples[rng.randrange(len(samples))] += rng.choice((1, 1000))
    model = replace(case_of(right), samples=samples).model()
    if rng.random() < 0.5:
        return with_model(right, model)
    leaf_lanes = right.context.terms.leaf_lanes
    return with_parts(right, model=Vectors([model], leaf_lanes), weights=weights_digest(samples))


def wrong_rounding(rng: Random, right: Evidence) -> Evidence | None:
    """Round towards zero, or always downwards, instead of half to even."""
    case, is_floor = case_of(right), rng.random() < 0.5
    table = np.stack([item.astype(object) for item in case.lanes])
    places = zip(table.T, case.parent_model, strict=True)
    model = [_round_wrongly(case, list(column), int(old), is_floor) for column, old in places]
    return with_model(right, np.array(model, np.int32))


def _round_wrongly(case: Case, values: list[int], old: int, is_floor: bool) -> int:
    terms, ranking = case.terms, sorted(values)
    numerator, denominator = ranking[(len(values) - 1) // 2] + ranking[len(values) // 2], 2
    if terms.rule == Rule.MEAN:
        numerator = sum(weight * value for weight, value in zip(case.samples, values, strict=True))
        denominator = sum(case.samples)
    elif terms.rule == Rule.TRIMMED_MEAN:
        first, last = aggregation.kept_places(terms.rule, len(values), terms.trim)
        numerator, denominator = sum(ranking[first : last + 1]), last + 1 - first
    quotient = int(numerator) << terms.shift
    delta = (
        quotient // denominator if is_floor else (abs(quotient) // denominator) * (1 if quotient >= 0 else -1)
    )
    return _saturate(old + _saturate(delta))


def _saturate(value: int) -> int:
    return max(-(2**31), min(2**31 - 1, value))


def wrong_old_model(rng: Random, right: Evidence) -> Evidence | None:
    other_model = random_lanes(rng, right.context.terms, 32)
    return with_model(right, replace(case_of(right), parent_model=other_model).model())


def wrong_padding(rng: Random, right: Evidence) -> Evidence | None:
    """Fill lanes beyond the parameters, add leaves beyond the last, or give a leaf another length."""
    name = rng.choice(("model", "rows"))
    source, context = getattr(right, name), right.context
    leaves = [source.leaf(index) for index in range(context.leaves)]
    kind = rng.randrange(3)
    if kind == 0:
        spare = context.leaves * context.terms.leaf_lanes - context.terms.parameters
        if spare == 0:
            return None
        leaves[-1] = leaves[-1][:-1] + b"\x01"
    elif kind == 1:
        if context.leaves == 1 << context.depth:
            return None
        leaves += [rng.randbytes(len(leaves[0]))] * rng.randint(1, (1 << context.depth) - context.leaves)
    else:
        index = rng.randrange(len(leaves))
        leaves[index] = rng.choice((leaves[index] + bytes(32), leaves[index][:-1], b""))
    return with_parts(right, **{name: Leaves(leaves, context.leaves)})


def wrapped_instead_of_saturated(rng: Random, right: Evidence) -> Evidence | None:
    del rng
    case = case_of(right)
    new_model = (case.parent_model.astype(np.int64) + case.delta().astype(np.int64)).astype(np.int32)
    return with_model(right, new_model)


Forgery = Callable[[Random, Evidence], Evidence | None]
FORGERIES: tuple[Forgery, ...] = (
    one_lane_off_by_one,
    swapped_leaves,
    dropped_update,
    wrong_weight,
    wrong_rounding,
    wrong_old_model,
    wrong_padding,
    wrapped_instead_of_saturated,
)


def forge(rng: Random, forgery: Forgery, setting: Setting | None = None, updates: int = 7) -> Evidence:
    """Forge a proposal over random terms; try other terms until the forgery has an effect."""
    while True:
        proposal = forgery(rng, evidence(rng, random_terms(rng), rng.randint(1, updates), setting))
        if proposal is not None:
            return proposal


# What a challenger may do to a right proposal.


def hostile_challenge(rng: Random, right: Evidence) -> Challenge:
    """Challenge a place that is right, in half of the cases with a field of the challenge changed."""
    challenge = _challenge(rng, right)
    return change_field(rng, challenge) if rng.random() < 0.5 else challenge


def _challenge(rng: Random, right: Evidence) -> Challenge:
    context, candidate, tally = right.context, right.candidate, right.tally
    leaf, kind = rng.randrange(context.leaves), rng.randrange(5)
    tree = rng.choice((Trees.MODEL, Trees.ROWS))
    source = right.model if tree is Trees.MODEL else right.rows
    if kind == 0:
        return right.sum_challenge(leaf, rng.randrange(context.terms.leaf_lanes))
    if kind == 1:
        return right.row_challenge(leaf, rng.randrange(len(right.lanes)), rng.randrange(context.leaf_bytes))
    if kind == 2:
        return WeightsChallenge(candidate, tally, tuple(right.words), right.samples)
    if kind == 3 or context.leaves == 1 << context.depth:
        return LeafChallenge(candidate, tally, tree, leaf, source.proof(leaf), b"\x00" + source.leaf(leaf))
    index = rng.randrange(context.leaves, 1 << context.depth)
    return PaddingChallenge(candidate, tally, tree, 0, index, bytes(32), padding_proof(right, tree, index))


def padding_proof(right: Evidence, tree: Trees, index: int) -> tuple[bytes, ...]:
    source = right.model if tree is Trees.MODEL else right.rows
    leaves = [source.leaf(place) for place in range(right.context.leaves)]
    levels = merkle.tree_of(leaves, right.context.depth).levels[:-1]
    path = []
    for height, level in enumerate(levels):
        start = ((index >> height) ^ 1) * 32
        path.append(level[start : start + 32] or merkle.padding(height))
    return tuple(path)


def change_field(rng: Random, challenge: Challenge) -> Challenge:
    """Return the challenge with one of its fields changed a little."""
    excluded_fields = {"candidate", "tally", "update", "tree"}
    name = rng.choice([field.name for field in fields(challenge) if field.name not in excluded_fields])
    return replace(challenge, **{name: _change(rng, getattr(challenge, name), name in {"low", "high"})})


def _change(rng: Random, value: Any, is_signed: bool) -> Any:
    if isinstance(value, bytes):
        if len(value) != 32 and rng.random() < 0.2:  # 32: a digest, which has no other length
            return rng.choice((value + b"\x00", value[:-1]))
        place = rng.randrange(len(value))
        return value[:place] + bytes([value[place] ^ 1 << rng.randrange(8)]) + value[place + 1 :]
    if isinstance(value, tuple):
        if not value:
            return value
        place = rng.randrange(len(value))
        return (*value[:place], _change(rng, value[place], is_signed), *value[place + 1 :])
    return value + rng.choice((1, -1)) if is_signed else max(0, value + rng.choice((1, -1, 32)))


def ruling(challenge: Challenge, context: ChallengeContext) -> bool | str:
    """Return the twin's ruling: refuted, failed, or the reason why it does not open."""
    try:
        return challenge.rule(context)
    except ChallengeError as error:
        return str(error)
