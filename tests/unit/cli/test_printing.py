"""How values look: in full when piped, fitted to a terminal otherwise."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bcfl.cli.output import printing
from bcfl.cli.output.display import LiveDisplay
from bcfl.cli.output.printing import (
    Column,
    clock_name,
    count_times_from,
    ether,
    format_time,
    plural,
    print_fields,
    print_folded,
    print_json,
    print_table,
    shortened,
)
from bcfl.cli.output.run_display import (
    WIDE,
    RunDisplay,
    led_by,
    participants,
    progress_line,
    rejected_words,
    round_cells,
    row_line,
)
from bcfl.config import Config
from bcfl.federation.reports import Progress, Report
from tests.unit.cli.test_run import DEVICES, LEADER, VOID, round_report

HASH = "0x" + "12ab" * 16
CID = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
COLUMNS = [Column("#", True), Column("device"), Column("root")]


Terminal = Callable[[int], None]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Makes stdout and stderr a terminal of so many columns, once the test runs."""

    def resize(columns: int) -> None:
        for stream in (sys.stdout, sys.stderr):
            monkeypatch.setattr(stream, "isatty", lambda: True)
        for name, value in {"COLUMNS": str(columns), "TERM": "xterm-256color", "NO_COLOR": "1"}.items():
            monkeypatch.setenv(name, value)

    return resize


@pytest.mark.parametrize(
    ("wei", "words"),
    [
        (0, "0"),
        (1, "1 wei"),
        (10**18, "1 ether"),
        (15 * 10**17, "1.5 ether"),
        (10**18 + 1, "~1.000000 ether"),
        (10**12, "0.000001 ether"),
        (10**11, "100 gwei"),
        (25 * 10**8, "2.5 gwei"),
        (1_234_567 * 10**18, "1,234,567 ether"),
    ],
)
def test_an_amount_is_short_and_says_when_it_is_rounded(wei: int, words: str) -> None:
    assert ether(wei) == words


def test_words() -> None:
    assert (plural(1, "round"), plural(0, "round"), plural(1000, "round")) == (
        "1 round",
        "0 rounds",
        "1,000 rounds",
    )
    count_times_from(None)
    assert (format_time(1_700_000_000), format_time(None)) == ("2023-11-14 22:13:20", None)
    assert clock_name() == "UTC"
    assert [printing.text_of(value) for value in (None, True, False, 1234, b"\x01")] == [
        "-", "yes", "no", "1,234", "0x01",
    ]  # fmt: skip


def test_times_of_a_simulated_chain_are_counted_from_its_start() -> None:
    count_times_from(1_700_000_000)
    try:
        times = [format_time(1_700_000_000 + seconds) for seconds in (0, 61, 100 * 3600)]
        assert times == ["+0:00:00", "+0:01:01", "+100:00:00"]
        assert (format_time(None), clock_name()) == (None, "simulated")
    finally:
        count_times_from(None)


def test_only_long_names_are_shortened() -> None:
    assert shortened(f"{LEADER}, {HASH}") == "0xaBaB…aBaB, 0x12ab…12ab"
    assert shortened(CID) == "bafkr…4s52zy"
    assert shortened("0x12 and words") == "0x12 and words"


def test_json_is_exact(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"root": bytes(32), "wei": 2**200, "list": [b"\xff"], "name": "é"})
    text = capsys.readouterr().out
    assert json.loads(text) == {"root": "0x" + "00" * 32, "wei": 2**200, "list": ["0xff"], "name": "é"}
    with pytest.raises(TypeError):
        print_json({"what": object()})


def test_piped_tables_are_whole(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(COLUMNS, [(1, LEADER, HASH), (10, None, "")], "Title")
    assert capsys.readouterr().out.splitlines() == [
        "",
        "Title",
        " #  device" + " " * 38 + "root",
        f" 1  {LEADER}  {HASH}",
        "10  -",
    ]


def test_a_terminal_that_is_too_narrow_shortens(
    capsys: pytest.CaptureFixture[str], terminal: Terminal
) -> None:
    terminal(80)
    print_table(COLUMNS, [(1, LEADER, HASH)])
    assert capsys.readouterr().out.splitlines()[1].split() == ["1", "0xaBaB…aBaB", "0x12ab…12ab"]
    terminal(130)
    print_table(COLUMNS, [(1, LEADER, HASH)])
    assert capsys.readouterr().out.splitlines()[1].split() == ["1", LEADER, HASH]


def test_fields_of_a_terminal(capsys: pytest.CaptureFixture[str], terminal: Terminal) -> None:
    terminal(80)
    print_fields([("root", HASH), ("both", f"{HASH} {HASH}")])
    text = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out)
    assert text.splitlines() == [f"root  {HASH}", "both  0x12ab…12ab 0x12ab…12ab"]


def test_what_a_terminal_has_no_room_for_stands_below(
    capsys: pytest.CaptureFixture[str], terminal: Terminal
) -> None:
    terminal(40)
    print_fields([("earned", "1 ether, of which 1 ether not claimed and 0 not withdrawn")])
    print_folded("    rate  0.5  share of the rounds in which it is gone", 15)
    text = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out)
    assert text.splitlines() == [
        "earned  1 ether, of which 1 ether not",
        "        claimed and 0 not withdrawn",
        "    rate  0.5  share of the rounds in",
        "               which it is gone",
    ]


def test_spare_columns_go_where_a_terminal_is_too_narrow(
    capsys: pytest.CaptureFixture[str], terminal: Terminal
) -> None:
    columns = [Column("run"), Column("started", spare=True), Column("mode", spare=True)]
    for width, places in ((60, [0, 1, 2]), (40, [0, 2]), (20, [0])):
        terminal(width)
        row = ("20261122-191100-cef8", "2026-11-22 19:11", "partial, pow")
        print_table(columns, [row])
        assert capsys.readouterr().out.splitlines()[1].rstrip() == "  ".join(row[place] for place in places)


def test_a_narrow_terminal_has_a_line_a_round() -> None:
    cells = ["1", "9.00%", "0.1", "9/9", "1", "0.1", shortened(LEADER), "3 outlier, 4 quality, 1 duplicate"]
    narrow, wide = (row_line(cells, width, Config()) for width in (80, 110))
    assert (len(narrow), narrow[-6:]) == (80, "1 dup…")
    assert "0.1" not in narrow
    assert wide.endswith("1 duplicate")


def test_columns_keep_their_places() -> None:
    config = Config(rounds=1000, devices=1000, miners=16)
    lines = [
        row_line(cells, WIDE, config)
        for cells in (
            ["1", "9.00%", "0.1", "9/9", "1", "0.1", LEADER, "-"],
            ["1000", "100.00%", "10.1000", "1000/1000", "10,000,000", "1000.1", LEADER, "-"],
        )
    ]
    assert len({line.index(LEADER) for line in lines}) == 1


@pytest.mark.parametrize(("loss", "words"), [(2.4e9, "2.4e+09"), (3.2e-6, "3.2e-06"), (None, "-")])
def test_a_loss_of_any_size_has_a_narrow_column(loss: float | None, words: str) -> None:
    assert round_cells(round_report(1, loss=loss), 1.0, True)[2] == words


def test_where_the_engine_may_change_it_stands_beside_the_leader() -> None:
    config = Config(mode="hybrid")
    plain, beside = (round_cells(round_report(1), 1.0, True, engine)[6] for engine in (False, True))
    assert (plain, beside) == (LEADER, f"{LEADER} (stake)")
    cells = [
        ["1", "9.00%", "0.1", "9/9", "1", "0.1", f"{LEADER} ({name})", "-"] for name in ("pow", "committee")
    ]
    assert len({row_line(each, WIDE, config).rindex("-") for each in cells}) == 1


def test_who_takes_part_and_what_decides() -> None:
    assert participants(Config(), " + ") == "20 devices + 5 miners"
    assert participants(Config(mode="full"), " + ") == "20 devices that are all miners"
    assert led_by(Config()) == "stake"
    assert led_by(Config(engine="committee")) == "a committee of 5"
    assert led_by(Config(engine="committee", miners=3)) == "a committee of 3"
    assert [led_by(Config(mode=mode)) for mode in ("full", "hybrid")] == ["resource (full)", "stake (hybrid)"]
    assert led_by(Config(engine="pow")) == "pow"


def test_why_updates_were_rejected() -> None:
    assert rejected_words(round_report(1)) == "1 quality, 1 time"
    assert rejected_words(round_report(1, **VOID)) == "void: few accepted"
    assert rejected_words(round_report(1, rejected=())) == "-"


def test_who_is_awaited() -> None:
    assert progress_line(Progress(2, 9, "tally", ())) == "round 2 of 9 · tally"
    workers = Progress(2, 9, "commit", (), workers="4 workers, 1 replaced")
    assert progress_line(workers) == "round 2 of 9 · commit · 4 workers, 1 replaced"
    assert progress_line(Progress(2, 9, "vote", (LEADER,))) == "round 2 of 9 · vote · awaiting 1: 0xaBaB…aBaB"
    assert progress_line(Progress(2, 9, "vote", DEVICES)).endswith("0x0303…0303, +1")


def test_a_live_table_leaves_its_rows_and_takes_its_last_line_back(
    capsys: pytest.CaptureFixture[str], terminal: Terminal, tmp_path: Path
) -> None:
    terminal(100)
    with RunDisplay(Config(), tmp_path, LiveDisplay(spins=True)) as table:
        table(Progress(1, 2, "vote", DEVICES))
        table(Progress(1, 2, "finalized", (), round_report(1)))
        table(Progress(2, 2, "void", (), round_report(2, **VOID)))
        table.stop("interrupted")
    text = capsys.readouterr().err
    assert "digits · 20 devices" in text
    assert "0xaBaB…aBaB  1 quality, 1 time" in text
    assert "void: few accepted" in text
    assert text.rstrip().endswith("interrupted")


def test_a_report_is_what_json_prints() -> None:
    report = Report("runs/x", LEADER, (round_report(1),), None, 1.5, 2.5)
    assert json.loads(json.dumps(report.to_dict()))["rounds"][0] == json.loads(
        json.dumps(round_report(1).to_dict())
    )
