"""The rules that make mutants, their choice, and what a campaign keeps: without compiling anything."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bcfl.ledger.artifact import artifact
from testkit import mocks
from tests.mutants import __main__ as campaign
from tests.mutants import build as compiling
from tests.mutants import plugin, report
from tests.mutants.blocks import label_functions
from tests.mutants.build import source_texts
from tests.mutants.choice import candidates, choose
from tests.mutants.journal import Accepted, Journal, Result, Status, outdated, read_accepted
from tests.mutants.rules import Mutant, mutants
from tests.mutants.trial import FAILURE, plan

SOURCE = '''# pragma version 0.4.3
"""
@title purse: a + b
"""
from modules import packing
LOW: constant(uint256) = 1  # < 2
HIGH: constant(uint256) = 2**8 - 1
SIGN: constant(int256) = -1
items: DynArray[uint256, 10]
total: public(uint256)

@external
def add(amount: uint256, times: uint256 = 4) -> uint256[2]:
    """
    @notice Adds 1 + 1.
    """
    assert amount > LOW and not self.closed, "purse: 1 < 2"
    parts: uint256[64] = empty(uint256[64])
    others: uint256[HIGH] = empty(uint256[HIGH])
    for part: uint256 in range(64):
        if part == packing.MASK:
            continue
        self.total += parts[
            part
        ]
    amount = min(amount << 3, -2)
    self.items.append(amount)
    log Added(amount)
    return [amount & HIGH, amount]
'''
PACKING = "MASK: constant(uint256) = 8\nSHIFT: constant(uint256) = 9\nNAME: constant(String[4]) = 'name'\n"
SOURCES = {"modules/purse.vy": SOURCE, "modules/packing.vy": PACKING}


@pytest.fixture(scope="module")
def changes() -> set[tuple[str, str]]:
    return {(m.rule, m.after) for m in mutants("modules/purse.vy", SOURCES)}


@pytest.mark.parametrize(
    ("rule", "after"),
    [
        ("arithmetic", "HIGH: constant(uint256) = 2**8 + 1"),
        ("arithmetic", "HIGH: constant(uint256) = 2*8 - 1"),
        ("number", "LOW: constant(uint256) = 0 # < 2"),
        ("number", "LOW: constant(uint256) = 2 # < 2"),
        ("boundary", 'assert amount >= LOW and not self.closed, "purse: 1 < 2"'),
        ("constant", 'assert amount > HIGH and not self.closed, "purse: 1 < 2"'),
        ("logic", 'assert amount > LOW or not self.closed, "purse: 1 < 2"'),
        ("logic", 'assert amount > LOW and self.closed, "purse: 1 < 2"'),
        ("no assert", "pass"),
        ("number", "for part: uint256 in range(63):"),
        ("equality", "if part != packing.MASK:"),
        ("constant", "if part == packing.SHIFT:"),
        ("condition", "if not (part == packing.MASK):"),
        ("loop", "break"),
        ("arithmetic", "self.total -= parts["),
        ("no store", "pass"),
        ("extreme", "amount = max(amount << 3, -2)"),
        ("shift", "amount = min(amount >> 3, -2)"),
        ("no assignment", "pass"),
        ("no call", "pass"),
        ("no log", "pass"),
        ("bits", "return [amount | HIGH, amount]"),
        ("constant", "return [amount & LOW, amount]"),
    ],
)
def test_a_rule_changes_one_thing(changes: set[tuple[str, str]], rule: str, after: str) -> None:
    assert (rule, after) in changes


def test_texts_types_signatures_and_signs_stay(changes: set[tuple[str, str]]) -> None:
    rules = Counter(rule for rule, _ in changes)
    assert rules["boundary"] == 1
    assert rules["equality"] == 1
    numbers = {after for rule, after in changes if rule == "number"}
    assert not {after for after in numbers if "uint256[6" in after or "def" in after or "items" in after}
    assert not {after for rule, after in changes if "others" in after}
    assert not {after for rule, after in changes if rule == "arithmetic" and "+2" in after.replace(" ", "")}


def test_a_statement_of_several_lines_is_left_out_as_a_whole() -> None:
    mutant = next(m for m in mutants("modules/purse.vy", SOURCES) if m.rule == "no store")
    assert mutant.before == "self.total += parts[ part ]"
    assert mutant.applied(SOURCE) == SOURCE.replace(
        "self.total += parts[\n            part\n        ]", "pass"
    )
    assert (mutant.function, mutant.line) == ("add", SOURCE[: mutant.start].count("\n") + 1)


@pytest.fixture(scope="module")
def groups() -> dict[str, list[Mutant]]:
    return candidates(source_texts())


def test_the_contracts_have_distinct_mutants(groups: dict[str, list[Mutant]]) -> None:
    for path, group in groups.items():
        text = source_texts()[path]
        assert len({mutant.name for mutant in group}) == len(group)
        assert all(mutant.applied(text) != text for mutant in group)
    assert sum(map(len, groups.values())) > 1000


def test_a_seed_chooses_evenly_and_always_the_same(groups: dict[str, list[Mutant]]) -> None:
    chosen = choose(groups, 150, 1)
    assert chosen == choose(groups, 150, 1) != choose(groups, 150, 2)
    assert chosen[:40] == choose(groups, 40, 1)
    assert len(set(chosen)) == 150
    counts = Counter(mutant.path for mutant in chosen)
    most = max(counts.values())
    assert all(count >= most - 1 or count == len(groups[path]) for path, count in counts.items())
    assert set(counts) == {path for path, group in groups.items() if group}


def test_a_module_is_named_with_or_without_its_path() -> None:
    assert list(candidates(SOURCES, "packing")) == list(candidates(SOURCES, "modules/packing.vy"))
    with pytest.raises(ValueError, match="no module 'purses'"):
        candidates(SOURCES, "purses")


def mutant_and_result(status: Status, tests: str = "tests") -> tuple[Mutant, Result]:
    mutant = Mutant("modules/purse.vy", "add", "rule", 3, 40, 41, "-", "a + b", "a - b")
    return mutant, Result(mutant.name, "sources", tests, status, "", 1.0, 2.0)


def test_the_journal_forgets_what_lived_under_other_tests(tmp_path: Path) -> None:
    for status in Status:
        journal = Journal(tmp_path / f"{status}.jsonl")
        mutant, result = mutant_and_result(status)
        assert journal.read("sources", "tests") == {}
        journal.write(result)
        assert journal.read("sources", "tests") == {mutant.name: result}
        assert journal.read("other", "tests") == {}
        lives = status in (Status.SURVIVED, Status.TIMEOUT)
        assert journal.read("sources", "other") == ({} if lives else {mutant.name: result})


def test_only_valid_mutants_that_are_not_accepted_count() -> None:
    rows = [mutant_and_result(status) for status in Status]
    assert report.killed_percent(rows) == pytest.approx(100 / 3)  # killed of killed, survived, timeout
    assert report.killed_percent([]) == 100
    text = "\n".join(report.table(rows))
    assert "survived: contracts/modules/purse.vy:3 add (rule)\n  - a + b\n  + a - b" in text
    assert json.loads(json.dumps(report.content(rows)))["counts"] == dict.fromkeys(Status, 1)


def test_an_accepted_mutant_has_a_reason_and_is_made_by_a_rule(tmp_path: Path) -> None:
    mutant, _ = mutant_and_result(Status.SURVIVED)
    entry = Accepted("modules/purse.vy", "add", "a + b", "a - b", "why")
    assert entry.covers(mutant)
    assert outdated([entry], [mutant]) == []
    assert outdated([entry], []) == [entry]
    file = tmp_path / "accepted.toml"
    file.write_text('[[mutant]]\npath = "p"\nfunction = ""\nbefore = "a"\nafter = "b"\nreason = " "\n')
    with pytest.raises(ValueError, match="say why"):
        read_accepted(file)


def test_accepted_mutants_are_those_of_the_contracts(groups: dict[str, list[Mutant]]) -> None:
    accepted = read_accepted(Path(report.__file__).parent / "accepted.toml")
    assert outdated(accepted, (mutant for group in groups.values() for mutant in group)) == []


def test_the_tests_that_reach_a_function_run_first_and_those_of_other_files_not_at_all() -> None:
    survey = {
        "tests/stateful/test_m.py::a": {"seconds": 0.1, "functions": ["modules/purse.vy:add"]},
        "tests/unit/contracts/test_n.py::a": {"seconds": 0.1, "functions": ["modules/purse.vy:add"]},
        "tests/unit/contracts/test_purse.py::a": {"seconds": 0.1, "functions": []},
        "tests/unit/contracts/test_purse.py::b": {"seconds": 9.0, "functions": ["modules/purse.vy:add"]},
        "tests/unit/contracts/test_o.py::a": {"seconds": 0.1, "functions": ["modules/purse.vy:take"]},
    }
    mutant, _ = mutant_and_result(Status.SURVIVED)
    stateful, other, beside, own, skipped = survey
    assert plan(mutant, survey) == {"order": [own, other, stateful, beside], "skip": [skipped]}


@pytest.fixture
def restored() -> Iterator[None]:
    content, contracts = dict(artifact()), mocks.CONTRACTS
    yield
    artifact().clear()
    artifact().update(content)
    mocks.CONTRACTS = contracts
    mocks.compiled.cache_clear()


@pytest.mark.usefixtures("restored")
def test_the_plugin_puts_a_mutant_in_place_of_the_contracts(tmp_path: Path) -> None:
    (tmp_path / "artifact.json").write_text('{"bytecode": {"Federation": "0x00"}}')
    plugin.load(tmp_path)
    assert artifact() == {"bytecode": {"Federation": "0x00"}}
    assert tmp_path / "contracts" == mocks.CONTRACTS


def output(code: str) -> dict[str, Any]:
    """What the compiler makes of a deployable, with nothing behind the code."""
    layout: dict[str, Any] = {"code_layout": {}, "storage_layout": {}}
    return {"abi": [], "bytecode": f"0x{code}0000", "bytecode_runtime": f"0x{code}", "layout": layout}


@pytest.mark.parametrize(("made", "is_same"), [("ff", False), ("02", True)])
def test_only_what_a_mutant_can_change_is_compiled(
    monkeypatch: pytest.MonkeyPatch, made: str, is_same: bool
) -> None:
    compiler = compiling._compiler(compiling.CONTRACTS)
    names = list(compiler.DEPLOYABLES)
    compiled = []

    def compile_one(name: str) -> dict[str, Any]:
        compiled.append(name)
        return output(made)

    monkeypatch.setattr(compiler, "compile_one", compile_one)
    monkeypatch.setattr(compiling, "_compiler", lambda _: compiler)
    functions = {name: ["modules/a.vy:f"] if name == names[1] else [] for name in names}
    before = compiling.Baseline({name: output(f"0{i + 1}") for i, name in enumerate(names)}, functions)
    mutant = Mutant("modules/a.vy", "f", "number", 1, 0, 1, "2", "1", "2")
    built = compiling.build(mutant, compiling.CONTRACTS, before)
    assert compiled == names[1:2]
    assert (built is None) == is_same
    if built is not None:
        codes = before.bytecode | {names[1]: output(made)["bytecode"]}
        assert built["bytecode"] == codes


def test_a_campaign_whose_mutants_do_not_compile_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mutant = Mutant("modules/a.vy", "f", "number", 1, 0, 1, "2", "1", "2")
    rows = [(mutant, Result("a", "", "", Status.INVALID, "", 0.0, 0.0))] * 4
    monkeypatch.setattr(campaign, "_campaign", lambda *_: rows)
    monkeypatch.setattr("sys.argv", ["mutants"])
    assert campaign.main() == 2
    assert "do not compile" in capsys.readouterr().err


def test_the_first_failure_is_read_from_the_output_of_pytest() -> None:
    output = "...F\nFAILED tests/a.py::test_b[1 and 2] - AssertionError: x - y\nERROR tests/a.py::test_c\n"
    assert FAILURE.findall(output) == ["tests/a.py::test_b[1 and 2]", "tests/a.py::test_c"]


def test_code_without_a_node_belongs_to_no_function() -> None:
    push1_data_that_looks_like_a_label = bytes([0x60, 0x5B, 0x5B, 0x00])
    assert label_functions(push1_data_that_looks_like_a_label, {}) == {}
