"""The parts of the explorer's pages: terms in words, readings, lists in pages, text that others chose."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, fields, replace
from typing import ClassVar

import pytest

from bcfl.errors import ConfigError, Unreachable
from bcfl.explorer import measuring
from bcfl.explorer.page import cut, number_in
from bcfl.explorer.reader import Crowded
from bcfl.explorer.terms import GROUPS, in_words
from bcfl.explorer.views.readings import readings, scale_of
from bcfl.federation.views.votes import FindingView
from bcfl.pages import texts
from bcfl.pages.charts import CODES, Cells, Curves, Series
from bcfl.pages.environment import SCRIPTS, STATIC, STYLES, script_json
from bcfl.protocol.types import Engine, Terms
from testkit.harness import TERMS


def test_every_term_is_said_once() -> None:
    named = [field for _, terms in GROUPS for field, _, _ in terms]
    assert sorted(named) == sorted(field.name for field in fields(Terms))


def test_terms_are_said_in_words() -> None:
    terms = replace(TERMS, engine=Engine.COMMITTEE, commit_seconds=90, reward=10**18, device_share=5000)
    said = {term.field: term.value for _, group in in_words(terms) for term in group}
    assert said["engine"] == "committee"
    assert said["commit_seconds"] == "1 min 30 s"
    assert said["reward"] == "1 ether"
    assert said["device_share"] == "50 %"
    said = {term.field: term.value for _, group in in_words(replace(terms, engine=9)) for term in group}
    assert said["engine"] == "number 9"


def test_a_moment_without_an_answer_ends_no_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that is away for once, or a burst of downloads, would end it for good."""
    monkeypatch.setattr(measuring, "IDLE_SECONDS", 0.0)

    class BusyReader:
        refusals: ClassVar[list[Exception]] = [Crowded("x"), Unreachable("x"), ConfigError("no task")]

        async def ask(self, question: object) -> bool:
            del question
            raise self.refusals.pop(0)

    task = measuring.Measuring(BusyReader(), lambda: None)  # type: ignore[arg-type]
    asyncio.run(task.follow())
    assert (task.problem, BusyReader.refusals) == ("no task", [])


def finding(score: float | None, **values: float | str | None) -> FindingView:
    base: FindingView = {
        "reason": "outlier",
        "rule": "length",
        "score": score,
        "least": None,
        "most": None,
        "error": None,
        "level": None,
        "gain": None,
        "gain_error": None,
    }
    return {**base, **values}  # type: ignore[typeddict-item]


def test_findings_of_one_rule_are_one_reading() -> None:
    numbers = {"0xa": [finding(3.0, most=2.0)], "0xb": [finding(5.0, most=2.0)]}
    (reading,) = readings(numbers, 0.0)
    assert reading.text == "length 3 to 5, at most 2"
    assert (reading.miners, reading.fails) == (2, True)
    assert (reading.start, reading.width) == (0, 1000)  # twice the bound or more
    (at_bound,) = readings({"0xa": [finding(2.0, most=2.0)]}, 0.0)
    assert at_bound.width == 500


def test_a_contribution_is_drawn_from_the_middle() -> None:
    worse = [finding(-0.5, rule="merit", reason="accepted", error=0.1)]
    better = [finding(0.25, rule="merit", reason="accepted", error=0.05)]
    scale = scale_of([{"0xa": worse}, {"0xb": better}])
    assert scale == pytest.approx(0.6)
    (left,), (right,) = readings({"0xa": worse}, scale), readings({"0xb": better}, scale)
    assert left.start is not None
    assert left.start + left.width == 500 == right.start
    assert left.width == pytest.approx(2 * right.width, abs=1)
    assert not left.fails
    (unknown,) = readings({"0xa": [finding(None)]}, scale)
    assert unknown.start is None


@pytest.mark.parametrize(
    ("text", "number"), [("7", 7), ("", 1), ("-1", 1), ("x", 1), ("²", 1), ("1" * 10, 1)]
)
def test_numbers_of_a_query_string_are_bounded(text: str, number: int) -> None:
    assert number_in({"page": text}, "page", 1) == number


def test_lists_are_cut() -> None:
    items = list(range(101))
    assert cut(items, {}, 50)[0] == items[:50]
    rows, part = cut(items, {"page": "9"}, 50)
    assert (rows, part.number, part.pages, part.total) == ([100], 3, 3, 101)
    assert cut([], {}, 50)[1].pages == 1


def test_hidden_characters_are_shown() -> None:
    assert texts.plain("caf\u00e9 \u6f22") == "caf\u00e9 \u6f22"
    assert texts.plain("a\u202eb\x1b[2J\x00\u200b") == "a\ufffdb\ufffd[2J\ufffd\ufffd"


def test_json_in_a_page_ends_no_script() -> None:
    text = script_json({"</script><!--": ["<b>&'\u202e", float("nan"), b"\x01"]})
    assert not set("<>&'\u202e") & set(text)
    assert "null" in text
    assert "0x01" in text


@pytest.mark.parametrize(
    ("wei", "text"),
    [
        (0, "0"),
        (10**18, "1 ether"),
        (15 * 10**17, "1.5 ether"),
        (1_466_533_999_999_999_999, "~1.4665 ether"),
        (5, "5 wei"),
    ],
)
def test_amounts_are_short(wei: int, text: str) -> None:
    assert texts.brief(wei) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0, "0 s"), (59, "59 s"), (79, "1 min 19 s"), (3600, "1 h"), (90_061, "1 d 1 h")],
)
def test_lengths_of_time_have_two_units(seconds: int | None, text: str) -> None:
    assert texts.duration(seconds) == text


def test_charts_have_tables_of_their_figures() -> None:
    curves = Curves("c", [1, 2], [Series("a", [0.5, None], "percent"), Series("g", [1234, 5], "gas")])
    assert curves.table_rows == [(1, ["50.00%", "1,234"]), (2, ["–", "5"])]
    cells = Cells("m", ["d0"], list(range(30)), ["3" * 29 + "q"], row_hrefs=["/devices/0"])
    assert cells.legend == ["3", "q"]
    assert len(cells.table_rows[0][2]) == 24
    assert set(cells.json["codes"]) == {"3", "q"}
    assert curves.json == asdict(curves)
    assert {name: value for name, value in cells.json.items() if name != "codes"} == asdict(cells)


def test_every_colour_of_a_verdict_is_in_the_style_sheet() -> None:
    sheet = (STATIC / "bcfl.css").read_text()
    for _, colour in CODES.values():
        assert f"--{colour}:" in sheet
        assert f".{colour} {{" in sheet


def test_what_a_page_inlines_is_there_and_small() -> None:
    sizes = [len((STATIC / name).read_bytes()) for name in (*STYLES, *SCRIPTS)]
    assert sum(sizes) < 150_000
