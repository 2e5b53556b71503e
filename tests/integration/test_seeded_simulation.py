"""The seeded simulation: a short campaign for the gate, and what it has to find when it is planted.

`make simulate` plays more; docs/simulation.md says how much has been played.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.simulation import __main__ as command
from tests.simulation import campaign
from tests.simulation.chain import BytecodeChain
from tests.simulation.episode import play
from tests.simulation.faults import ROUGH_SEEDS
from tests.simulation.hunt import find
from tests.simulation.plants import PLANTS, Plant, changed_code, planted
from tests.simulation.specification import SpecificationChain

# About 1,000 rounds. Five broke a rule once; from a million on updates are sealed, from two on it is rough.
SEALED = (*range(1_000_000, 1_000_008), 1_010_766)
SEEDS = (*range(90), 107, 2027, 20438, 30169, *SEALED, *range(2_000_000, 2_000_008))
QUICK = ("a file is not synced", "an update is not recorded", "a store that is away ends the party")
ROUGH = (
    "a device reveals nothing after a restart",
    "a vote is not recorded",
    "a vote is recorded after it is sent",
)


@pytest.fixture(autouse=True, scope="module")
def collected_rarely() -> Iterator[None]:
    """Have garbage collected as in a campaign: rarely."""
    before = gc.get_threshold()
    gc.set_threshold(campaign.COLLECT_AFTER)
    yield
    gc.set_threshold(*before)


def plant(name: str) -> Plant:
    return next(item for item in PLANTS if item.name == name)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_federation_survives_whatever_goes_wrong(seed: int) -> None:
    outcome = play(seed, kind=SpecificationChain)
    assert outcome.violations == (), campaign.describe(outcome.to_json())
    assert outcome.faults
    assert outcome.checks["money"] > outcome.blocks


def test_the_bytecode_survives_too() -> None:
    outcome = play(3, kind=BytecodeChain, rounds=2)
    assert outcome.violations == (), campaign.describe(outcome.to_json())
    assert outcome.blocks


def test_an_episode_is_played_again_exactly() -> None:
    first, second = (replace(play(9, kind=SpecificationChain), seconds=0.0) for _ in range(2))
    assert first == second
    assert len(first.faults) > 10


def test_both_chains_play_the_same_episode() -> None:
    kinds = (BytecodeChain, SpecificationChain)
    one, other = (play(0, kind=kind, rounds=1, only=frozenset()) for kind in kinds)
    assert (one.rounds, one.blocks, one.label) == (other.rounds, other.blocks, other.label)
    assert one.violations == other.violations == ()


@pytest.mark.parametrize("name", QUICK)
def test_a_planted_fault_is_found(name: str) -> None:
    line = find(plant(name), 0, 200, 120.0, "specification")
    assert line["found"], line


@pytest.mark.parametrize("name", ROUGH)
def test_a_planted_fault_is_found_where_it_is_rough(name: str) -> None:
    line = find(plant(name), ROUGH_SEEDS, 60, 120.0, "specification")
    assert line["found"], line


def test_every_plant_still_fits_the_code() -> None:
    for item in PLANTS:
        changed_code(item)
    assert len({item.name for item in PLANTS}) == len(PLANTS) >= 30


def test_a_plant_whose_words_are_gone_is_refused() -> None:
    with pytest.raises(LookupError, match="0 times"):
        changed_code(replace(PLANTS[0], old="no such words"))


def test_a_failure_is_shrunk_and_comes_again_with_the_fewest_faults() -> None:
    with planted(plant("a file is not synced")):
        for seed in range(10):
            outcome = play(seed, kind=SpecificationChain)
            if outcome.violations:
                break
        fewest = campaign.shrink_outcome(outcome, "specification", 6, 1.0)
        again = play(outcome.seed, only=frozenset(fewest), kind=SpecificationChain)
    assert 0 < len(fewest) < len(outcome.faults)
    assert again.violations[0].rule == outcome.violations[0].rule
    assert set(again.faults) == set(fewest)
    assert play(outcome.seed, only=frozenset(fewest), kind=SpecificationChain).violations == ()


def test_a_campaign_goes_on_where_it_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "episodes.jsonl"
    for _ in range(2):
        campaign.run(
            path, rounds=1, seconds=60, jobs=1, first=0, chain="specification", factor=1.0, tell=print
        )
    lines = campaign.read(path)
    assert [line["seed"] for line in lines] == [0, 1]
    assert all(line["commit"] == campaign.commit() for line in lines)
    with path.open("a") as file:
        file.write('{"seed": 2, "cut o')
    assert len(campaign.read(path)) == 2
    table = campaign.table(lines)
    assert f"2 episodes, {sum(line['rounds'] for line in lines)} rounds" in table
    assert "0 episodes broke a rule" in table
    capsys.readouterr()


def test_a_failure_stops_no_campaign_and_is_listed_with_its_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign, "STORMY_ROUNDS", "no number")  # nothing can be played with it
    path, told = tmp_path / "episodes.jsonl", list[dict[str, Any]]()
    lines = campaign.run(
        path, rounds=3, seconds=60, jobs=2, first=5, chain="specification", factor=1.0, tell=told.append
    )
    assert {5, 6, 7} <= {line["seed"] for line in lines}
    assert lines == told
    assert [line["seed"] for line in campaign.read(path)] == [line["seed"] for line in lines]
    text = campaign.table(lines)
    assert f"{len(lines)} episodes broke a rule" in text
    for line in lines:
        assert f"seed {line['seed']} at commit {campaign.commit()}: played: the simulation fails" in text


def test_a_failure_prints_seed_commit_and_how_to_play_it_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["simulation", "--seed", "0", "--only", "none"])
    assert command.main() == 0
    text = capsys.readouterr().out
    assert f"seed 0 at commit {campaign.commit()}" in text
    line = json.loads(
        '{"seed": 4, "commit": "abc", "label": "3 devices", "shrunk": ["kill:miner 1:2:VOTE:7"], '
        '"violations": [{"rule": "stake", "text": "miner 1 lost", "round": 2, "phase": "VOTE"}]}'
    )
    assert "--seed 4 --only 'kill:miner 1:2:VOTE:7'" in campaign.describe(line)
    assert "--seed 4 --factor 2.0 --only" in campaign.describe(line | {"factor": 2.0})
