"""Say the terms of a federation in words: every field of `Terms` once, in groups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from bcfl.pages.texts import duration, ether, plural, words
from bcfl.protocol.privacy import Privacy
from bcfl.protocol.types import Engine, Layout, Mode, Rule, Terms

Wording = Callable[[Any], str]


@dataclass(frozen=True)
class Term:
    """One term: its name in the contract, what it decides, and its value in words."""

    field: str
    label: str
    value: str


def _share(points: int) -> str:
    return f"{points / 100:g} %"


def _times(points: int) -> str:
    return f"{points / 10_000:g} times"


def _enum(kind: type[Engine] | type[Mode] | type[Rule]) -> Wording:
    return lambda number: words(kind(number).name.lower()) if number in list(kind) else f"number {number}"


def _window(seconds: int) -> str:
    return duration(seconds) if seconds else "none: nothing can be challenged"


def _hash(value: bytes) -> str:
    return f"0x{value.hex()}"


def _count(word: str) -> Wording:
    return lambda number: plural(number, word)


Group = tuple[str, tuple[tuple[str, str, Wording], ...]]

GROUPS: Final[tuple[Group, ...]] = (
    (
        "Who takes part",
        (
            ("mode", "Who may be a miner", _enum(Mode)),
            ("engine", "Who leads the first round is decided by", _enum(Engine)),
            ("min_stake", "Stake that gives one vote", ether),
            ("committee_size", "Members of a committee, where one is drawn", _count("miner")),
            ("pow_target", "First target of the race, where there is one", hex),
            ("pow_seconds", "A race is to last", duration),
            ("rate_factor", "A pace counts up to the voters' median, times", _times),
        ),
    ),
    (
        "What is learned",
        (
            ("parameters", "Size of the model", _count("parameter")),
            ("layout", "Digest of its layout", _hash),
            ("scale_bits", "Bits after the point of a model's value", _count("bit")),
            ("lane_bits", "Width of an update's value", _count("bit")),
            ("shift", "Bits by which an update is coarser", _count("bit")),
            ("leaf_lanes", "Values in a leaf of the Merkle tree", _count("value")),
            ("rule", "Updates are combined by their", _enum(Rule)),
            ("trim", "A trimmed mean cuts from each end", _share),
        ),
    ),
    (
        "What a round takes",
        (
            ("min_updates", "Fewer accepted make it void", _count("update")),
            ("max_updates", "More are not taken", _count("update")),
            ("max_samples", "One device may claim at most", _count("sample")),
            ("time_factor", "Training may take, compared with the reference", _times),
            ("time_slack", "A difference below this never counts", lambda number: f"{number / 1000:g} ms"),
        ),
    ),
    (
        "How long phases last",
        (
            ("commit_seconds", "Commit, at most", duration),
            ("reveal_seconds", "Reveal, at most", duration),
            ("vote_seconds", "Vote, at most", duration),
            ("unveil_seconds", "Unveil, at most", duration),
            ("tally_seconds", "Tally, at most", duration),
            ("elect_seconds", "Elect, at most", duration),
            ("propose_seconds", "Propose, at most", duration),
            ("attest_seconds", "Attest, at most", duration),
            ("grace", "After all have acted, a phase stays open", duration),
            ("min_blocks", "A phase lasts at least", _count("block")),
        ),
    ),
    (
        "Challenges",
        (
            ("challenge_seconds", "A proposal is open to challenges", _window),
            ("challenge_bond", "A challenge puts at stake", ether),
            ("answer_seconds", "A move of a dispute is answered within", duration),
            ("attest_slash", "Attesting what is refuted costs of the stake", _share),
        ),
    ),
    (
        "Money",
        (
            ("reward", "Paid for a round", ether),
            ("device_share", "Of it to devices, by accepted samples", _share),
            ("miner_share", "Of it to miners, by matching verdicts", _share),
            ("vote_penalty", "A vote that is never unveiled costs, a vote", ether),
            ("leader_penalty", "A leader that misses its deadline pays", ether),
            ("absence_penalty", "A missed round costs of the stake", _share),
            ("absence_seconds", "Absence before a miner is suspended", duration),
            ("exit_rounds", "A stake is free after leaving and", _count("round")),
            ("exit_seconds", "or, if that is sooner, after", duration),
        ),
    ),
)


def agreed_in_words(layout: Layout) -> tuple[str, list[Term]]:
    """Return what a layout says beside its tensors as a group: who reads what, and the noise of devices."""
    privacy, noise = Privacy.of(layout), dict(layout.agreement).get("noise")
    updates = "the miners that vote on them" if privacy.confidential else "everybody"
    models = "the members" if privacy.members else "everybody"
    terms = [Term("privacy", "Updates are read by", updates), Term("models", "Models are read by", models)]
    return "Who reads what", [*terms, *([Term("noise", "Devices add noise", noise)] if noise else [])]


def in_words(terms: Terms) -> list[tuple[str, list[Term]]]:
    """Return the terms in groups, each with its value in words."""
    return [
        (group, [Term(field, label, wording(getattr(terms, field))) for field, label, wording in entries])
        for group, entries in GROUPS
    ]
