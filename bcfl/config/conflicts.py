"""Find options that cannot stand together: a rule each, with what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Final

from bcfl.adversaries import catalog
from bcfl.config.options import Options
from bcfl.errors import ConfigError
from bcfl.protocol.limits import (
    BASIS_POINTS,
    LEAF_LANES,
    MAX_BATCH,
    MAX_MINERS,
    MAX_SHOWN,
    MODEL_BITS,
    WEI_BITS,
    shown_bytes,
)
from bcfl.protocol.noise import LEAST_STEPS, MAX_DEVIATION, MAX_RADIUS, SAMPLE

Rule = Callable[[Options], Iterator[str]]
WORD_BITS: Final = 256
MOST_SHARED: Final = 9_500  # basis points of the reward for devices and miners: a lead earns something
POISONERS: Final = frozenset(  # attacks that change data, or need it
    {"label-flip", "backdoor", "inflater", "class-swap", "adaptive"}
)
KRUM_REST: Final = 3  # Multi-Krum needs 2f + 3 updates
SPELL: Final = 3  # missed rounds in a row that cost a fee


def conflicts(options: Options) -> Iterator[str]:
    """Yield every set of options that cannot stand together, as `key=value` with what to do about it."""
    for rule in RULES:
        yield from rule(options)


def _flower(c: Options) -> Iterator[str]:
    if c.flower is None:
        for name in ("run_config", "node_config"):
            if getattr(c, name) is not None:
                yield f"{_shown(c, name)} is for a Flower app: name its folder with flower"
        return
    if c.task != Options.model_fields["task"].default:
        yield f"{_shown(c, 'task')} and {_shown(c, 'flower')} are two things to learn: leave one out"
    for name in ("data", "model", "weights", "epochs", "batch_size", "learning_rate"):
        if getattr(c, name) is not None:
            words = f"{_shown(c, name)} means nothing with {_shown(c, 'flower')}"
            yield f"{words}: the app has its own, set by run_config or node_config"
    for spec in c.adversaries:
        if spec.name in POISONERS:
            words = f"{spec.name} changes data, which with {_shown(c, 'flower')} the app alone sees"
            yield f"{words}: take another attack"


def _shown(c: Options, name: str) -> str:
    """Return an option with its value, on one line."""
    text = str(getattr(c, name))
    return f"{name}={text if text.isprintable() else ascii(text)}"


def _leaves(c: Options) -> Iterator[str]:
    lanes = c.leaf_lanes or LEAF_LANES
    if lanes * c.lane_bits % WORD_BITS:
        words = f"leaf_lanes={lanes} with lane_bits={c.lane_bits} is no whole number of 32-byte words"
        yield f"{words}: take a multiple of {WORD_BITS // c.lane_bits} for leaf_lanes"
    size = shown_bytes(c.devices, lanes, c.lane_bits)
    if size > MAX_SHOWN:
        words = f"leaf_lanes={lanes} with devices={c.devices} makes a challenge of {size} bytes"
        yield f"{words}, more than {MAX_SHOWN}: lower leaf_lanes"


def _lanes(c: Options) -> Iterator[str]:
    if c.lane_bits + c.lane_shift > MODEL_BITS:
        yield f"shift={c.lane_shift} with lane_bits={c.lane_bits} is wider than 32 bits: lower shift"
    if c.lane_shift > c.scale_bits:
        yield f"shift={c.lane_shift} is more than scale_bits={c.scale_bits}: lower shift or raise scale_bits"


def _updates(c: Options) -> Iterator[str]:
    if c.required_updates < c.devices < 2 * c.required_updates - 1:
        words = f"min_updates={c.required_updates} of devices={c.devices} lets a few refusals void a round"
        yield f"{words}: lower min_updates to {(c.devices + 1) // 2}, or take {c.devices} to insist on all"
    if c.required_updates > c.devices:
        yield f"min_updates={c.min_updates} voids every round of devices={c.devices}: lower min_updates"


def _krum(c: Options) -> Iterator[str]:
    if c.krum is not None and c.devices < 2 * c.krum + KRUM_REST:
        words = f"krum={c.krum} needs devices={2 * c.krum + KRUM_REST} or more and would reject nothing"
        most = (c.devices - KRUM_REST) // 2
        yield f"{words}: " + (f"take at most krum={most}" if most >= 0 else "leave krum out")


def _full_mode(c: Options) -> Iterator[str]:
    if c.mode == "full" and c.devices > MAX_MINERS:
        words = f"devices={c.devices} with mode={c.mode} are as many miners"
        yield f"{words}, and a federation holds {MAX_MINERS}: take fewer devices, or another mode"
    if c.mode == "full" and c.miners != c.devices:
        words = f"miners={c.miners} with mode={c.mode} is not devices={c.devices}"
        yield f"{words}: every device is a miner there, leave miners out"


def _wishes(c: Options) -> Iterator[str]:
    if c.wish and c.mode != "hybrid":
        yield f"wishes ({', '.join(c.wish)}) mean nothing with mode={c.mode}: take mode=hybrid"


def _batches(c: Options) -> Iterator[str]:
    if c.devices > MAX_BATCH * c.miners:
        words = f"devices={c.devices} are more than miners={c.miners} can serve"
        yield f"{words}: a batch holds {MAX_BATCH}, take at least {-(-c.devices // MAX_BATCH)} miners"


def _race(c: Options) -> Iterator[str]:
    engines = {wish.engine.name.lower() for wish in c.wishes}
    if "pow" in (c.first_engine, *engines) and c.pow_seconds > c.elect_seconds:
        yield f"pow_seconds={c.pow_seconds} is more than elect_seconds={c.elect_seconds}: raise elect_seconds"


def _stakes(c: Options) -> Iterator[str]:
    if c.stake < c.min_stake:
        yield f"stake={c.stake} is less than min_stake={c.min_stake} and carries no vote: raise stake"
    if c.reward > c.min_stake:
        words = f"reward={c.reward} is more than min_stake={c.min_stake}"
        yield f"{words}: a round would be worth more than what a miner can lose; lower reward"
    for name, penalty in (("vote_penalty", c.vote_penalty), ("leader_penalty", c.leader_penalty)):
        if penalty > c.min_stake:
            yield f"{name}={penalty} is more than min_stake={c.min_stake} covers: lower {name}"
    absence = round(c.absence_penalty * BASIS_POINTS)
    paid = (c.vote_penalty + c.leader_penalty) * BASIS_POINTS + SPELL * absence * c.min_stake
    if 2 * paid > c.min_stake * BASIS_POINTS:
        words = f"vote_penalty={c.vote_penalty}, leader_penalty={c.leader_penalty}"
        words = f"{words} and three times absence_penalty are more than half of min_stake={c.min_stake}"
        yield f"{words}, which is kept for slashing: lower one"


def _access(c: Options) -> Iterator[str]:
    if c.model_access == "members" and c.privacy == "public":
        words = f"model_access={c.model_access} with privacy={c.privacy} keeps nothing from anybody"
        yield f"{words}, who adds up what the devices publish: take privacy=confidential"


def _noise(c: Options) -> Iterator[str]:
    said = c.noise
    if said is None:
        if c.budget is not None:
            yield f"budget={c.budget} without dp bounds what nothing bounds: add dp, or leave budget out"
        return
    if said.level == SAMPLE:
        if c.flower is not None:
            words = f"dp={c.dp} with {_shown(c, 'flower')} asks for noise in a training that is the app's own"
            yield f"{words}: take level=participant, or noise of the app's"
        return
    bits = c.scale_bits - c.lane_shift
    deviation, radius = said.deviation * 2**bits, Fraction(said.clip) * 2**bits
    if deviation < LEAST_STEPS:
        words = f"dp={c.dp} with lane_bits={c.lane_bits} is noise of less than {LEAST_STEPS} steps of a lane"
        yield f"{words}: raise noise or clip, or take wider lanes"
    if deviation > MAX_DEVIATION or radius > MAX_RADIUS:
        yield f"dp={c.dp} with lane_bits={c.lane_bits} is more than lanes hold: lower noise and clip"


def _rewards(c: Options) -> Iterator[str]:
    shares = round(c.device_share * BASIS_POINTS) + round(c.miner_share * BASIS_POINTS)
    words = f"device_share={c.device_share} and miner_share={c.miner_share}"
    if shares > BASIS_POINTS:
        yield f"{words} are more than 1: lower one"
    elif shares > MOST_SHARED:
        yield f"{words} leave less than 0.05 for the leader: lower one"
    if 4 * c.vote_penalty * BASIS_POINTS < c.reward * round(c.miner_share * BASIS_POINTS):
        least = c.reward * round(c.miner_share * BASIS_POINTS) // (4 * BASIS_POINTS) + 1
        words = f"vote_penalty={c.vote_penalty} is less than a quarter of what verdicts earn in a round"
        yield f"{words}: raise it to {least}"


def _windows(c: Options) -> Iterator[str]:
    if c.grace_time > c.commit_seconds // 2:
        yield f"grace={c.grace} is more than half of commit_seconds={c.commit_seconds}: lower grace"
    window = c.window
    if not window:
        return
    least = max(4, 2 * c.propose_seconds)
    if window < least:
        words = f"challenge_seconds={window} is too short to find and announce what is wrong"
        yield f"{words}: raise it to {least}, or take 0 for no challenges at all"
    if window > c.attest_seconds:
        words = f"challenge_seconds={window}"
        if c.challenge_seconds is None:
            words = f"propose_seconds={c.propose_seconds} with a challenge window of twice that"
        yield f"{words} is more than attest_seconds={c.attest_seconds}: raise attest_seconds to {window}"
    if c.answer_time < max(c.propose_seconds, -(-window // 4)):
        words = f"answer_seconds={c.answer_time} is less than it takes to make what is shown"
        yield f"{words}: raise it to {max(c.propose_seconds, -(-window // 4))}"


def _adversaries(c: Options) -> Iterator[str]:
    try:
        catalog.check_counts(c.adversaries, c.devices, c.miners)
    except ConfigError as error:
        yield str(error)


def _funding(c: Options) -> Iterator[str]:
    if c.funding >= 2**WEI_BITS:
        yield f"rounds={c.rounds} of reward={c.reward} are 2**{WEI_BITS} wei or more: lower reward"


RULES: Final[tuple[Rule, ...]] = (  # the first conflict is the one that is told
    _flower,
    _leaves, _lanes, _updates, _krum, _full_mode, _wishes, _batches, _race, _stakes, _rewards, _windows,
    _access, _noise,
    _adversaries, _funding,
)  # fmt: skip
