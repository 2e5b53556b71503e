"""docs/own-data.md, line by line: three parties of different size, each with a file that nobody else reads.

The lines run in this process, those that end in & in one of their own, on a chain behind a socket.
"""

from __future__ import annotations

import json
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bcfl.cli import main
from bcfl.config import Config
from bcfl.federation.genesis import set_up_data
from bcfl.federation.query import open_deployment
from bcfl.federation.simulation import run
from bcfl.ledger.deployment.keystore import derive
from bcfl.ledger.devnet.server import serve
from tests.processes import LONG_PHASE_OPTIONS, STALL_SECONDS

ROOT = Path(__file__).parents[3]
MNEMONIC = "test test test test test test test test test test test junk"
FENCE = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGE = (ROOT / "docs" / "own-data.md").read_text(encoding="utf-8")
LINES = [line for block in FENCE.findall(PAGE) for line in block.splitlines()]
ROUNDS = 2


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder, and a chain that the page's network stands for."""
    accounts = [account.address for account in derive(MNEMONIC, 0, 4)]
    with serve(None, accounts, port=0) as server:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("BCFL_NETWORK", "local")
        monkeypatch.setenv("ETH_RPC_URL", server.url)
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        yield tmp_path


def start(words: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen([sys.executable, "-m", *words], stdout=file, stderr=file)


def words_of(line: str) -> list[str]:
    """The words of a line without where its output goes; what makes the test short is added."""
    words = shlex.split(re.sub(r" > \S+ 2>&1 &$", "", line))
    if words[:2] == ["bcfl", "deploy"]:
        words += LONG_PHASE_OPTIONS
    if words[:3] == ["bcfl", "start", "device"]:
        words += ["--rounds", str(ROUNDS), "--poll", "0.2"]
    return words


@pytest.fixture
def devices() -> Iterator[list[subprocess.Popen[bytes]]]:
    """The processes of a test; none outlives it."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def test_every_line_of_the_page(
    place: Path,
    devices: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    outputs: dict[str, str] = {}
    codes: dict[str, int] = {}
    for line in LINES:
        words = words_of(line)
        if words[0] in ("export", "kill") or words[:2] == ["bcfl", "chain"]:
            continue  # the fixture's
        if line.endswith("&"):
            devices.append(start(words, place / f"device-{len(devices)}.log"))
        elif words[0] == "bcfl":
            capsys.readouterr()
            codes[line] = main(words[1:])
            outputs[line] = capsys.readouterr().out
        elif words[0] == "python":
            with monkeypatch.context() as patch:
                patch.setattr("sys.argv", words[1:])
                runpy.run_path(str(ROOT / words[1]), run_name="__main__")
        else:
            subprocess.run(["bash", "-c", line], check=True)
        if words[:2] == ["bcfl", "watch"]:
            assert [device.wait(STALL_SECONDS) for device in devices] == [0, 0, 0]
    assert set(codes.values()) == {0}, codes
    with open_deployment(folder=place / "deployments") as query:
        rounds = [round_ for round_ in query.history.rounds.values() if round_.closed is not None]
        claims = {item.update.samples for round_ in rounds for item in round_.submissions}
        assert claims == {32, 120, 200}  # four in five of 40 and of 150, and of 379 what one may claim
        assert query.terms.max_samples == 200
    north, south, west = [outputs[line] for line in LINES if line.startswith("bcfl evaluate")]
    assert north.startswith("biopsies: 8 test samples\nround  accuracy")
    table = [row.split() for row in south.splitlines()[2:]]
    assert [row[0] for row in table] == ["0", "1", "2"]
    assert float(table[0][1].rstrip("%")) < 80 < float(table[2][1].rstrip("%"))
    view = json.loads(west)
    assert (view["part"], view["samples"], view["rounds"][0]["round"]) == ("training", 303, 2)
    assert set(view["rounds"][0]) == {"round", "block_round", "root", "accuracy", "loss"}
    refusals(place, capsys)


def refusals(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is refused on the federation of the page, in one line each."""
    west = (place / "sites" / "west" / "patients.csv").read_text().splitlines()
    (place / "other").mkdir()

    def write(rows: list[str]) -> None:
        (place / "other" / "patients.csv").write_text("\n".join(rows))

    def line_of(*words: str) -> str:
        capsys.readouterr()
        assert main(words) == 2
        output = capsys.readouterr()
        assert output.err.count("\n") == 1
        return output.err

    join = ["start", "device", "--journal", "other", "--account", "1", "--data"]
    assert "303 training samples are more than the 200" in line_of(*join, "sites/west")
    assert "loaded, there is no sites/east: FileNotFoundError" in line_of(*join, "sites/east")
    write([*west[:50], "x" + west[51]])
    assert "loaded from other: ValueError: could not convert string 'x" in line_of(*join, "other")
    write([row[:-1] + str(1 + int(row[-1])) for row in west[:100]])
    assert "(label 2): IndexError: Target 2 is out of bounds.; labels count from 0" in line_of(*join, "other")
    write(["nan" + west[0][west[0].index(",") :]])
    assert "features must be finite, and those of sample 0 are not" in line_of(*join, "other")
    write(west[:1])  # which is held out
    assert "load returned no training samples" in line_of(*join, "other")
    assert "no samples of that part" in line_of("evaluate", "--data", "other", "--train")
    assert "exclude each other" in line_of("evaluate", "--data", "other", "--rounds", "--round", "1")
    assert "there is no round 3" in line_of("evaluate", "--data", "other", "--round", "3")
    assert "another layout than the federation's" in line_of("evaluate", "--task", "breast-cancer")
    assert "ValueError: a party has its own patients.csv" in line_of("evaluate")
    assert "does not hold the model" in line_of("evaluate", "--data", "sites/west", "--store", "empty")


def test_a_run_is_evaluated_as_its_report_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = Config(
        devices=3, miners=1, rounds=2, task="breast-cancer", runs=tmp_path / "runs", challenge_seconds=0
    )
    report = run(config)
    arguments = ["evaluate", "--run", str(report.run_dir), "--rounds", "--json"]
    assert main(arguments) == 0
    view = json.loads(capsys.readouterr().out)
    assert view["samples"] == len(set_up_data(config)[1].test)
    rows = [(row["accuracy"], row["loss"]) for row in view["rounds"][1:]]
    assert rows == [(round_.accuracy, round_.loss) for round_ in report.rounds]
    assert main([*arguments[:3], "--round", "0"]) == 0
    assert capsys.readouterr().out.splitlines()[2].split()[0] == "0"
