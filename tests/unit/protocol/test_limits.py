"""Limits and other numbers are the same in Python and in the contract, whose source is read for them."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path

import pytest

from bcfl.protocol import absence, docket, election, limits, lottery, scores, turns, types, verification
from bcfl.protocol.types import Engine, Mode, Phase, Rule, VoidReason

CONTRACTS = Path(__file__).parents[3] / "contracts"
SOURCES = {path.stem: path.read_text() for path in CONTRACTS.rglob("*.vy") if path.parent.name != "mocks"}
CONSTANT = re.compile(r"^([A-Z][A-Z0-9_]*): constant\(u?int256\) = ([^#\n]+)", re.MULTILINE)
OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
    ast.BitOr: operator.or_,
}

LIMITS = {name: value for name, value in vars(limits).items() if name.isupper()}
MACHINES = {"TRANSACTION_BYTES", "TRANSACTION_GAS", "BLOCK_GAS"}  # limits of nodes, not of the contract
PARTIES = {"MAX_EXPONENT", "LEAF_LANES", "USUAL_LEVEL"}  # of what only parties see, and defaults

# Number of Python, and the constants of the contract that are the same, as `module.NAME`.
TWINS = {
    "BASIS_POINTS": (limits.BASIS_POINTS, "constants.BASIS aggregation.BASIS"),
    "MODEL_BYTES": (limits.MODEL_BYTES, "challenges.MODEL_BYTES"),
    "MODEL_BITS": (-(2 ** (limits.MODEL_BITS - 1)), "aggregation.LEAST"),
    "MAX_LEAF_LANES": (limits.MAX_LEAF_LANES * limits.MODEL_BYTES + 1, "challenges.MAX_LEAF"),
    "MAX_MINERS": (limits.MAX_MINERS, "constants.MAX_MINERS counting.MAX_VOTES verification.MAX_VOTES"),
    "MAX_WEIGHT": (limits.MAX_WEIGHT, "registry.MAX_WEIGHT"),
    "MAX_UPDATES": (
        limits.MAX_UPDATES,
        "constants.MAX_UPDATES aggregation.MAX_UPDATES verification.MAX_UPDATES",
    ),
    "words of verdicts": (limits.MAX_UPDATES // verification.IN_WORD, "verification.MAX_WORDS"),
    "verdicts of a tally": (
        limits.MAX_MINERS * limits.MAX_UPDATES // verification.IN_WORD,
        "verification.MAX_VERDICTS",
    ),
    "TOP_LEVEL": (limits.TOP_LEVEL + 1, "counting.UNAVAILABLE"),
    "IN_WORD": (verification.IN_WORD, "counting.IN_WORD"),
    "verdict of what cannot be had": (limits.TOP_LEVEL + types.Verdict.UNAVAILABLE, "counting.UNAVAILABLE"),
    "bytes of weights": (limits.MAX_UPDATES * 4, "challenges.MAX_SAMPLES"),
    "COMMITTEES": (limits.COMMITTEES, "committees.COMMITTEES"),
    "MAX_BATCH": (limits.MAX_BATCH, "submissions.MAX_BATCH"),
    "MAX_PACE": (limits.MAX_PACE, "submissions.MAX_PACE"),
    "GROUP": (limits.GROUP, "constants.GROUP"),
    "LEVELS": (limits.LEVELS, "leaves.LEVELS"),
    "nodes of an answer": (2**limits.LEVELS, "leaves.NODES"),
    "MAX_SHOWN": (limits.MAX_SHOWN, "terms.MAX_SHOWN"),
    "NO_DEADLINE": (limits.NO_DEADLINE, "rounds.NEVER"),
    "NOT_MINE": (verification.NOT_MINE, "verification.NOT_MINE"),
    "BOUND_BYTES": (2 ** (8 * verification.BOUND_BYTES) - 1, "constants.MASK32"),
    "RETARGET": (election.RETARGET, "election.RETARGET"),
    "UNIT": (turns.UNIT, "turns.UNIT"),
    "JOINING": (turns.JOINING - turns.LEAST, "turns.JOINING"),
    "SEAT": (types.SEAT, "packing.SEAT"),
    "ACCOUNT": (types.ACCOUNT, "constants.MASK160"),
    "SPELL": (absence.SPELL, "absence.SPELL"),
    "MOST_MISSED": (absence.MOST_MISSED, "constants.MASK4"),
    "MAX_STRIKES": (absence.MAX_STRIKES, "absence.MAX_STRIKES"),
    "FORGIVEN": (absence.FORGIVEN, "absence.FORGIVEN"),
    "ROUNDS": (absence.ROUNDS, "absence.ROUNDS"),
    "WINDOW_PARTS": (docket.WINDOW_PARTS, "docket.PARTS"),
    "MIN_SALT": (docket.MIN_SALT, "challenges.MAX_NUMBER"),
    "CHEAP_DISPUTES": (docket.CHEAP_DISPUTES, "docket.CHEAP"),
    "MAX_DOUBLINGS": (docket.MAX_DOUBLINGS, "docket.MAX_DOUBLINGS"),
    "MAX_SURCHARGE": (docket.MAX_SURCHARGE, "docket.MAX_SURCHARGE"),
    "ONE": (lottery.ONE, "lottery.ONE"),
    "LN2": (lottery.LN2, "lottery.LN2"),
    "ROOT": (lottery.ROOT, "lottery.ROOT"),
    "WHOLE": (scores.WHOLE, "scores.WHOLE"),
    "PART": (scores.PART, "scores.PART"),
    "SCALE": (scores.SCALE, "scores.SCALE"),
    "full": (Mode.FULL, "constants.FULL"),
    "hybrid": (Mode.HYBRID, "constants.HYBRID"),
    "engines": (len(Engine), "verification.ENGINES"),
    "mean": (Rule.MEAN, "aggregation.MEAN"),
    "median": (Rule.MEDIAN, "aggregation.MEDIAN"),
}

# Number of Python, and where the contract writes it out: module, and a pattern whose group is the number.
BOUNDS = {
    "MAX_CALLS": (limits.MAX_CALLS, "Federation", r"def multicall\(.*lengths: DynArray\[uint256, (\d+)\]"),
    "MULTICALL_BYTES": (limits.MULTICALL_BYTES, "Federation", r"def multicall\(calls: Bytes\[(\d+)\]"),
    "MAX_REGISTRATIONS": (
        limits.MAX_REGISTRATIONS,
        "registry",
        r"def \w*register_devices\(accounts: DynArray\[address, (\d+)\]",
    ),
    "leaf_lanes": (limits.MAX_LEAF_LANES, "terms", r"terms\.leaf_lanes <= (\d+)"),
    "committee_size": (limits.MAX_MINERS, "terms", r"terms\.committee_size <= (\d+)"),
}

# Number of Python that is narrower than the contract's on purpose, and where the contract writes that.
NARROWER = {
    "MAX_PHASE_SECONDS": (limits.MAX_PHASE_SECONDS, "terms", r"MAX_SECONDS: constant\(uint256\) = ([^#\n]+)"),
    "WEI_BITS": (2**limits.WEI_BITS, "terms", r"terms\.min_stake < (2\*\*\d+)"),
}


def evaluate(text: str, names: Mapping[str, int]) -> int:
    """Return the value of a constant's expression in whole numbers."""

    def value(node: ast.expr) -> int:
        match node:
            case ast.Constant(int(number)):
                return number
            case ast.Name(name):
                return names[name]
            case ast.Attribute(ast.Name("constants"), name):
                return SHARED[name]
            case ast.UnaryOp(ast.USub(), operand):
                return -value(operand)
            case ast.Call(ast.Name("max_value"), [ast.Name("uint256")]):
                return 2**256 - 1
            case ast.BinOp(left, operation, right):
                result = OPERATORS[type(operation)](value(left), value(right))
                return int(result)
        raise ValueError(f"not an expression of a constant: {text}")

    return value(ast.parse(text.strip(), mode="eval").body)


def constants(source: str) -> dict[str, int]:
    """Return the whole numbers that a module of the contract names."""
    numbers: dict[str, int] = {}
    for name, text in CONSTANT.findall(source):
        numbers[name] = evaluate(text, numbers)
    return numbers


SHARED: dict[str, int] = {}  # the numbers that modules take from `constants`
SHARED.update(constants(SOURCES["constants"]))
CONSTANTS = {module: constants(source) for module, source in SOURCES.items()}


@pytest.mark.parametrize("name", TWINS)
def test_a_number_is_the_contracts(name: str) -> None:
    number, twins = TWINS[name]
    for twin in twins.split():
        module, constant = twin.split(".")
        assert CONSTANTS[module][constant] == number, twin


@pytest.mark.parametrize("name", BOUNDS)
def test_a_bound_is_the_contracts(name: str) -> None:
    number, module, pattern = BOUNDS[name]
    assert [int(text) for text in re.findall(pattern, SOURCES[module])] == [number]


@pytest.mark.parametrize("name", NARROWER)
def test_a_narrower_limit_is_within_the_contracts(name: str) -> None:
    number, module, pattern = NARROWER[name]
    (text,) = re.findall(pattern, SOURCES[module])
    assert 0 < number <= evaluate(text, {})


@pytest.mark.parametrize("phase", Phase)
def test_phases_are_the_contracts(phase: Phase) -> None:
    assert CONSTANTS["constants"][phase.name] == phase


@pytest.mark.parametrize("member", [*VoidReason, *Engine], ids=lambda member: member.name)
def test_reasons_and_engines_are_the_contracts(member: IntEnum) -> None:
    assert CONSTANTS["constants"][member.name] == member


def test_every_limit_is_compared() -> None:
    assert LIMITS.keys() - {*TWINS, *BOUNDS, *NARROWER} == MACHINES | PARTIES


def test_one_name_is_one_number() -> None:
    """A module of the contract that names a limit of Python means the same number."""
    pairs = [(name, module) for name in LIMITS for module in CONSTANTS if name in CONSTANTS[module]]
    assert [(n, m) for n, m in pairs if CONSTANTS[m][n] != LIMITS[n]] == []


def test_no_other_module_states_a_limit_again() -> None:
    root = CONTRACTS.parent
    definition = re.compile(rf"^({'|'.join(LIMITS)})(?:: Final)? =", re.MULTILINE)
    paths = [path for folder in ("bcfl", "testkit", "benchmarks") for path in (root / folder).rglob("*.py")]
    names_by_path = {path: names for path in paths if (names := definition.findall(path.read_text()))}
    assert names_by_path.keys() == {Path(limits.__file__).resolve()}
