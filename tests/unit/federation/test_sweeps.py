"""A sweep runs each combination once, goes on where it stood, and tells means and deviations as they are."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest

from bcfl.cli import main
from bcfl.errors import ConfigError
from bcfl.federation import trial
from bcfl.federation.documents.sweep_page import spread_text, to_csv, to_html
from bcfl.federation.outcome import read_outcome
from bcfl.federation.sweeps import Sweep, spread
from bcfl.federation.trial import ERROR, OPTIONS, RESULT
from tests.unit.cli.test_report import HOSTILE, Page

TEXT = """
rounds = 2
devices = 6
miners = 3

[grid]
seed = [0, 1, 2]
rule = ["mean", "median"]
adversary = [[], ["sign-flip:0.2"]]
"""
Play = Callable[[list[str]], int]


def result_of(options: dict[str, Any]) -> dict[str, Any]:
    """Return what a run with these options is made to come to: an accuracy that its seed decides."""
    accuracy = 0.5 + options["seed"] / 10 + (0.2 if options["rule"] == "median" else 0)
    rounds = [
        {"accepted": [1, 2, 3], "rejected": [4], "status": "finalized", "loss": 1 / number,
         "metrics": {"accuracy": accuracy * number / 2}}
        for number in (1, 2)
    ]  # fmt: skip
    return {
        "rounds": rounds, "final_metrics": {"accuracy": accuracy}, "final_loss": 0.5, "seconds": 1.0,
        "gas_per_participant": 50_000.0,
    }  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "grid.toml"
    path.write_text(TEXT)
    return path


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Let trials come to a result at once; returns the options of each that was run."""
    runs: list[dict[str, Any]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        folder = Path(command[-1])
        options = json.loads((folder / OPTIONS).read_text())
        runs.append(options)
        if options["seed"] == 1 and options["rule"] == "median":
            (folder / ERROR).write_text("the disk is full\n")
            return subprocess.CompletedProcess(command, 2)
        (folder / RESULT).write_text(json.dumps(result_of(options)))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    return runs


def test_each_combination_is_run_once_and_only_what_lacks_a_result_again(
    file: Path, tmp_path: Path, played: list[dict[str, Any]]
) -> None:
    sweep = Sweep.load(file, tmp_path / "sweep")
    told: list[int] = []
    sweep.run(3, lambda _, done: told.append(done))
    assert len(played) == 12
    assert told == list(range(1, 13))
    assert len({(run["seed"], run["rule"], tuple(run["adversary"])) for run in played}) == 12
    played.clear()
    Sweep.load(file, tmp_path / "sweep").run(1)
    assert {(run["seed"], run["rule"]) for run in played} == {(1, "median")}  # those that failed
    file.write_text(TEXT.replace("[0, 1, 2]", "[0, 1, 2, 3]"))
    played.clear()
    Sweep.load(file, tmp_path / "sweep").run(1)
    assert sorted(run["seed"] for run in played) == [1, 1, 3, 3, 3, 3]


def test_means_and_deviations_are_over_the_seeds(
    file: Path, tmp_path: Path, played: list[dict[str, Any]]
) -> None:
    sweep = Sweep.load(file, tmp_path / "sweep")
    sweep.run(2)
    view = sweep.view()
    assert view["varied"] == ["rule", "adversary"]
    assert [cell["values"] for cell in view["cells"]] == [
        {"rule": "mean", "adversary": "none"}, {"rule": "mean", "adversary": "sign-flip:0.2"},
        {"rule": "median", "adversary": "none"}, {"rule": "median", "adversary": "sign-flip:0.2"},
    ]  # fmt: skip
    whole, partial = view["cells"][0], view["cells"][2]
    accuracy = whole["figures"]["accuracy"]
    assert accuracy["mean"] == pytest.approx(0.6)
    assert accuracy["deviation"] == pytest.approx(stdev([0.5, 0.6, 0.7]))
    assert (whole["trials"], whole["failed"], accuracy["count"]) == (3, 0, 3)
    assert (partial["trials"], partial["failed"], partial["figures"]["accuracy"]["count"]) == (3, 1, 2)
    assert partial["figures"]["accuracy"]["mean"] == pytest.approx(0.8)
    assert whole["figures"]["rejected"]["mean"] == 0.25
    points = whole["curves"]["accuracy"]
    assert [point and point["mean"] for point in points] == [pytest.approx(0.3), pytest.approx(0.6)]
    assert len(played) == 12


def test_a_sweep_is_written_as_page_table_and_json_and_says_what_failed(
    file: Path, tmp_path: Path, played: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "sweep"
    assert main(["sweep", str(file), "--dir", str(folder), "--json"]) == 1
    view = json.loads(capsys.readouterr().out)
    assert json.loads((folder / "sweep.json").read_text()) == view
    rows = list(csv.DictReader(io.StringIO((folder / "sweep.csv").read_text())))
    assert [row["failed"] for row in rows] == ["0", "0", "1", "1"]
    assert float(rows[0]["accuracy"]) == pytest.approx(0.6)
    page = Page((folder / "sweep.html").read_text())
    assert "the disk is full" in page.text
    assert not {tag for tag, _ in page.tags} & {"link", "img", "iframe", "form"}
    assert len(played) == 12
    assert main(["sweep", str(file), "--dir", str(folder)]) == 1
    assert "60.00% ± 10.00" in capsys.readouterr().out


def test_names_are_only_text_in_the_page_of_a_sweep(
    file: Path, tmp_path: Path, played: list[dict[str, Any]]
) -> None:
    sweep = Sweep.load(file, tmp_path / "sweep")
    sweep.run(2)
    view = sweep.view()
    tags = {tag for tag, _ in Page(to_html(view, "")).tags}
    view["name"] = view["trials"][0]["folder"] = HOSTILE
    for item in view["trials"]:
        item["error"] = HOSTILE
    for cell in view["cells"]:
        cell["values"]["rule"] = HOSTILE
        cell["curves"] = {HOSTILE: cell["curves"]["loss"]}
        cell["figures"] = {HOSTILE: cell["figures"]["loss"]}
    view["figures"] = [HOSTILE]
    page = to_html(view, "")
    assert {tag for tag, _ in Page(page).tags} <= tags
    assert "\u202e" not in page
    assert not [
        cell for row in csv.reader(io.StringIO(to_csv(view))) for cell in row if cell[:1] in ("=", "@")
    ]
    assert len(played) == 12


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rounds = 2\n", "has no table [grid]"),
        ("[grid]\n", "has no table [grid]"),
        ("[grid]\nseed = 3\n", "grid.seed is not a list"),
        ("[grid]\nseed = []\n", "grid.seed is not a list"),
        ("[grid]\nseed = [1, 1]\n", "grid.seed has a value twice"),
        ("[grid]\nsede = [1]\n", "sede=1: "),
        ("[grid]\nrounds = [1, -1]\n", "rounds=-1: "),
        ("runs = 'x'\n[grid]\nseed = [1]\n", "runs is the sweep's own"),
        ("[grid\n", "is not TOML"),
        (f"[grid]\nseed = {list(range(5000))}\nrounds = [1, 2, 3]\n", "comes to 15,000 runs"),
    ],
)
def test_a_sweep_that_could_not_run_is_told_in_one_line_before_any_run(
    tmp_path: Path, text: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    assert main(["sweep", str(path), "--dir", str(tmp_path / "sweep")]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "sweep").exists()


def test_a_sweep_is_what_its_file_says(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = [trial.config for trial in Sweep.load(file, tmp_path).trials]
    (tmp_path / "bcfl.toml").write_text("epochs = 7\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BCFL_EPOCHS", "9")
    assert [trial.config for trial in Sweep.load(file, tmp_path).trials] == plain


def test_so_many_jobs_as_make_sense(file: Path, tmp_path: Path) -> None:
    for jobs in (0, 1000):
        with pytest.raises(ConfigError, match="--jobs"):
            Sweep.load(file, tmp_path).run(jobs)


ROUND = {"accepted": [1], "rejected": [], "status": "finalized", "loss": 0.5, "metrics": {"accuracy": 0.5}}
WHOLE = json.dumps({"rounds": [ROUND]})
ODD = [
    ("", "it is not JSON"),
    ("{", "it is not JSON"),
    ("\udcff", "it is not JSON"),
    ("[]", "it is no object"),
    ('{"rounds": 3}', "rounds is no list of rounds"),
    ("[" * 100_000, "its brackets stand more than 64 deep"),
    ('{"a":' * 100_000 + "1" + "}" * 100_000, "its brackets stand more than 64 deep"),
    ("9" * 10_000, "it is not JSON"),
    ('{"rounds": [3]}', "rounds[0] is no round"),
    ('{"rounds": [{}]}', "rounds[0] is no round"),
    (WHOLE.replace("[1]", "1"), "rounds[0] is no round"),
    (WHOLE.replace('"finalized"', "[]"), "rounds[0] is no round"),
    (WHOLE.replace('{"accuracy": 0.5}', "[]"), "rounds[0] is no round"),
    (WHOLE.replace('{"accuracy": 0.5}', '{"accuracy": "0.5"}'), "rounds[0] is no round"),
    (WHOLE.replace('{"accuracy": 0.5}', '{"accuracy": true}'), "rounds[0] is no round"),
    (WHOLE.replace('"loss": 0.5', '"loss": NaN'), "rounds[0] is no round"),
    (WHOLE.replace('"loss": 0.5', '"loss": 1e308'), "rounds[0] is no round"),
    (WHOLE.replace('"loss": 0.5', f'"loss": 1{"0" * 400}'), "rounds[0] is no round"),
    (json.dumps({"rounds": [ROUND], "final_metrics": [1]}), "final_metrics are no metrics"),
    (json.dumps({"rounds": [ROUND], "seconds": {}}), "seconds is no number"),
    (
        json.dumps({"rounds": [{**ROUND, "metrics": {f"{n}{m}": 0 for n in range(90)}} for m in "ab"]}),
        "its rounds have more than 100 metrics",
    ),
]


@pytest.mark.parametrize(("text", "words"), ODD, ids=[str(place) for place in range(len(ODD))])
def test_an_odd_result_is_told_in_one_line_and_made_again(
    file: Path,
    tmp_path: Path,
    played: list[dict[str, Any]],
    text: str,
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file.write_text(TEXT.replace("[0, 1, 2]", "[0]").replace('["mean", "median"]', '["mean"]'))
    folder = tmp_path / "sweep"
    assert main(["sweep", str(file), "--dir", str(folder)]) == 0
    played.clear()
    first, second = Sweep.load(file, folder).trials
    (first.folder / RESULT).write_text(text, errors="surrogateescape")
    assert (first.result, first.oddity) == (
        None,
        f"{first.folder / RESULT} is not what came of a run: {words}",
    )
    assert Sweep.load(file, folder).view()["trials"][0]["state"] == "open"
    capsys.readouterr()
    assert main(["sweep", str(file), "--dir", str(folder)]) == 0
    output = capsys.readouterr()
    (line,) = [line for line in (output.out + output.err).splitlines() if RESULT in line]
    assert line.endswith(f"{words}; it is made again")
    assert len(played) == 1
    assert first.result is not None
    assert second.oddity is None


def test_an_odd_error_is_one_line(file: Path, tmp_path: Path) -> None:
    first = Sweep.load(file, tmp_path).trials[0]
    first.folder.mkdir()
    (first.folder / ERROR).write_bytes(b"\xff\nthe disk\n\n is full" + b" x" * 10_000)
    error = first.error
    assert error is not None
    assert error.startswith("\ufffd the disk is full x")
    assert len(error) < 5_000
    assert "\n" not in error


def test_of_one_seed_there_is_no_deviation() -> None:
    one = spread([0.5])
    assert one == {"mean": 0.5, "deviation": None, "count": 1}
    assert spread_text("accuracy", one) == "50.00%"
    assert spread([]) is None


def test_a_large_figure_is_short() -> None:
    assert spread_text("perplexity", spread([12_345.6])) == "12,346"
    assert spread_text("perplexity", spread([1e90])) == "1e+90"


def test_a_trial_goes_on_where_it_was_stopped_and_says_why_it_failed(tmp_path: Path) -> None:
    options = {"devices": 4, "miners": 3, "rounds": 1, "partition": "iid", "challenge_seconds": 0}
    (tmp_path / OPTIONS).write_text(json.dumps(options))
    assert trial.main(tmp_path) == 0
    first = json.loads((tmp_path / RESULT).read_text())
    (tmp_path / RESULT).unlink()
    assert trial.main(tmp_path) == 0  # the run is there: it is told, not played again
    again = json.loads((tmp_path / RESULT).read_text())
    assert again["rounds"] == first["rounds"]
    (tmp_path / OPTIONS).write_text(json.dumps(options | {"task": "no.such:task"}))
    (tmp_path / RESULT).unlink()
    (tmp_path / "run" / "run.json").unlink()
    assert trial.main(tmp_path) == trial.FAILED
    assert (tmp_path / ERROR).read_text().count("\n") == 1


@pytest.mark.parametrize(
    ("metrics", "code", "words"),
    [
        ({"perplexity": 1e200, "auc": 0.5}, 0, ""),
        ({f"metric {number}": 0.5 for number in range(101)}, trial.FAILED, "more than 100 metrics"),
    ],
)
def test_what_no_sweep_can_sum_up_is_left_out_or_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metrics: dict[str, float], code: int, words: str
) -> None:
    """A number whose square is none, as the perplexity of a model that diverges."""
    report = {"rounds": [{**ROUND, "metrics": metrics}], "final_metrics": metrics, "final_loss": 0.5}
    monkeypatch.setattr(trial, "_play", lambda *_: report)
    (tmp_path / OPTIONS).write_text("{}")
    assert trial.main(tmp_path) == code
    if code:
        assert words in (tmp_path / ERROR).read_text()
    else:
        result = read_outcome(tmp_path / RESULT)
        assert result is not None
        assert result["final_metrics"] == {"perplexity": None, "auc": 0.5}
