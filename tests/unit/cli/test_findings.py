"""The numbers behind a verdict, a level and what came of a device's updates: of the miners' journals."""

from __future__ import annotations

from pathlib import Path

from bcfl.roles.common.journal import Journal
from bcfl.roles.miner import findings
from bcfl.roles.miner.findings import Finding
from testkit.harness import Federation
from tests.unit.cli.conftest import Bcfl
from tests.unit.cli.test_queries import addresses


def test_the_numbers_behind_a_rejection(bcfl: Bcfl, two_rounds: Federation, tmp_path: Path) -> None:
    first, second, third = addresses(two_rounds.miner_keys)
    for miner, score in ((first, -0.25), (second, -0.25)):
        finding = Finding(1, 2, "quality", "merit", score, -0.125, None)
        (tmp_path / "notes" / miner).mkdir(parents=True)
        findings.write(Journal(tmp_path / "notes" / miner), 1, [finding])
    view = bcfl("votes", 1, "--journal", tmp_path / "notes", "--json").json
    expected = {"reason": "quality", "rule": "merit", "score": -0.25, "least": -0.125, "most": None}
    expected |= dict.fromkeys(("error", "level", "gain", "gain_error"))
    assert view["updates"][1]["numbers"] == {first: [expected], second: [expected], third: []}
    assert view["updates"][0]["numbers"] == {first: [], second: [], third: []}
    assert view["unexplained"] == [third]
    text = bcfl("votes", 1, "--journal", tmp_path / "notes").text
    assert "1 m0 m1 quality merit -0.25, at least -0.125" in text
    assert "no numbers from m2: they are in the miner's own journal, name its folder with --journal" in text


def test_the_numbers_behind_a_level(bcfl: Bcfl, two_rounds: Federation, tmp_path: Path) -> None:
    miner = addresses(two_rounds.miner_keys)[0]
    (tmp_path / "notes" / miner).mkdir(parents=True)
    both = ((0, 3), (2, 1))
    values = {"error": 0.0125, "gain": 1.5, "gain_error": 0.25}
    items = [Finding(place, 2, "accepted", "merit", -0.25, level=at, **values) for place, at in both]
    findings.write(Journal(tmp_path / "notes" / miner), 1, items)
    view = bcfl("votes", 1, "--journal", tmp_path / "notes", "--json").json
    numbers = [update["numbers"][miner] for update in view["updates"]]
    assert [[item["level"] for item in items] for items in numbers] == [[3], [], [1], []]
    assert {key: numbers[2][0][key] for key in values} == values
    text = bcfl("votes", 1, "--journal", tmp_path / "notes").text
    assert "2 m0 level 1 merit -0.25 ± 0.013, gain 1.5 ± 0.25" in text
    assert "0 m0" not in text


def test_the_numbers_behind_what_came_of_a_devices_updates(
    bcfl: Bcfl, two_rounds: Federation, tmp_path: Path
) -> None:
    device = two_rounds.updates(1)[1].device
    first, second, third = addresses(two_rounds.miner_keys)
    for miner, rule, score in ((first, "harm", 0.5), (second, "harm", 0.25), (third, "length", 3.0)):
        (tmp_path / "notes" / miner).mkdir(parents=True)
        finding = Finding(1, device, "quality", rule, score, None, 0.125)
        findings.write(Journal(tmp_path / "notes" / miner), 1, [finding])
    flags = ("device", device, "--journal", tmp_path / "notes")
    (entry,) = bcfl(*flags, "--json").json["rounds"]
    assert {miner: items[0]["score"] for miner, items in entry["findings"].items()} == {
        first: 0.5,
        second: 0.25,
        third: 3.0,
    }
    assert "harm 0.5, at most 0.125" in bcfl(*flags).text
    assert "at most" not in bcfl("device", device).text
