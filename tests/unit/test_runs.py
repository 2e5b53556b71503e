"""The folder of a run: made once, written by one, read by any, and nothing lost when something fails."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bcfl.config import Config
from bcfl.config.sources import RENAMED
from bcfl.errors import ConfigError, RunError
from bcfl.federation.runs import Run, latest, list_runs, new_path

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
ADDRESS = "0x" + "aB" * 20


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def create_run(runs: Path, minutes: int = 0, **options: Any) -> Path:
    """A run that began so many minutes after NOW, and that nobody has open."""
    config = Config(runs=runs, **options)
    with Run.create(config, NOW + timedelta(minutes=minutes), "ab12") as run:
        return run.path


def refusal(act: Callable[[], object]) -> str:
    """The one line that a RunError says."""
    with pytest.raises(RunError) as error:
        act()
    assert "\n" not in str(error.value)
    return str(error.value)


@contextmanager
def no_room() -> Iterator[None]:
    """Files cannot grow, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_default_behavior(runs: Path) -> None:
    config = Config(runs=runs, rounds=3, seed=2**62, stake="2 ether", alpha=0.1)  # type: ignore[arg-type]
    with Run.create(config, NOW, "ab12") as run:
        assert run.path == runs / "20260304-050607-ab12"
        assert run.contract is None
        run.set_contract(ADDRESS)
    with Run.open(None, runs) as reopened:
        assert reopened.path == run.path
        assert reopened.created == NOW
        assert reopened.contract == ADDRESS
        assert reopened.config.model_dump(exclude={"runs", "run_dir"}) == config.model_dump(
            exclude={"runs", "run_dir"}
        )
        assert {reopened.chain_path, reopened.store_path, reopened.journal_path} == {
            run.path / "chain.sqlite",
            run.path / "store",
            run.path / "journal",
        }


def test_the_clock_and_chance_name_the_folder(runs: Path) -> None:
    first, second = new_path(runs, NOW), new_path(runs, NOW)
    assert first != second
    assert first.name.startswith("20260304-050607-")
    local_time = NOW.astimezone(tz=datetime.fromisoformat("2026-01-01T00:00:00+05:00").tzinfo)
    assert new_path(runs, local_time, "x").name == "20260304-050607-x"


def test_a_run_goes_where_its_config_says(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with Run.create(Config(run_dir=folder)) as run:
        assert run.path == folder
    folder.rename(tmp_path / "moved")
    with Run.open(tmp_path / "moved") as run:
        assert run.config.run_dir == tmp_path / "moved"


def test_an_empty_folder_is_taken_a_full_one_is_not(tmp_path: Path) -> None:
    empty, full = tmp_path / "empty", tmp_path / "full"
    empty.mkdir()
    full.mkdir()
    (full / "thesis.tex").write_text("years of work")
    Run.create(Config(run_dir=empty)).close()
    assert "is not empty" in refusal(lambda: Run.create(Config(run_dir=full)))
    assert [path.name for path in full.iterdir()] == ["thesis.tex"]
    assert f"--resume {empty}" in refusal(lambda: Run.create(Config(run_dir=empty)))


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "Not a directory" in refusal(lambda: Run.create(Config(run_dir=tmp_path / "file" / "x")))


def test_data_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Run.create(Config(run_dir=tmp_path / "run", data=Path("sets"))).close()
    with Run.open(tmp_path / "run") as run:
        assert run.config.data == tmp_path / "sets"


def test_the_latest_run_is_the_one_that_began_last(runs: Path) -> None:
    create_run(runs, 5)
    create_run(runs, 1)
    newest = create_run(runs, 9, run_dir=runs / "a-name-that-sorts-first")
    os.utime(runs / "20260304-050707-ab12" / "run.json", (4e9, 4e9))
    assert latest(runs) == newest
    assert [run.path.name for run in list_runs(runs)][-1] == newest.name


def test_other_folders_are_no_runs(runs: Path) -> None:
    path = create_run(runs)
    (runs / "notes").mkdir()
    (runs / "file").write_text("")
    assert [run.path for run in list_runs(runs)] == [path]


def test_no_runs(runs: Path) -> None:
    assert list_runs(runs) == []
    assert "there is no run in" in refusal(lambda: Run.open(None, runs))
    runs.mkdir()
    assert "`bcfl run`" in refusal(lambda: Run.open(None, runs))
    assert "no run.json" in refusal(lambda: Run.open(runs))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "format"),
        (b"[]", "format"),
        (b'{"format": "1"}', "format"),
        (b'{"format": true}', "format"),
        (b'{"format": 1}', "its keys"),
        (b'{"format": 1, "created": "", "config": {}, "contract": null, "more": 1}', "its keys"),
    ],
)
def test_a_damaged_run(runs: Path, content: bytes, words: str) -> None:
    path = create_run(runs)
    (path / "run.json").write_bytes(content)
    message = refusal(lambda: Run.open(path, read_only=True))
    assert words in message
    assert "start a new run" in message
    (entry,) = list_runs(runs)
    assert entry.error == message
    assert entry.config is None


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("config", [], "config is not an object"),
        ("config", {"devices": 3}, "config lacks"),
        ("created", 5, "created"),
        ("created", "2026-03-04", "created"),
        ("contract", "0x12", "contract"),
        ("contract", 7, "contract"),
    ],
)
def test_a_key_that_is_damaged(runs: Path, key: str, value: object, words: str) -> None:
    path = create_run(runs)
    content = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps(content | {key: value}))
    assert words in refusal(lambda: Run.open(path))


def test_options_that_cannot_be(runs: Path) -> None:
    path = create_run(runs)
    content = json.loads((path / "run.json").read_text())
    content["config"]["devices"] = -3
    (path / "run.json").write_text(json.dumps(content))
    assert "devices=-3" in refusal(lambda: Run.open(path))
    content["config"] |= {"devices": 3, "colour": "red"}
    (path / "run.json").write_text(json.dumps(content))
    assert "colour" in refusal(lambda: Run.open(path))


def test_another_format_names_both(runs: Path) -> None:
    path = create_run(runs)
    content = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps(content | {"format": 7, "unheard": "of"}))
    message = refusal(lambda: Run.open(path))
    assert "format 7" in message
    assert "format 1" in message
    assert "use the version of bcfl that wrote it" in message


def test_one_process_writes(runs: Path) -> None:
    path = create_run(runs)
    with Run.open(path):
        message = refusal(lambda: Run.open(path))
        assert f"process {os.getpid()} " in message
        assert Run.open(path, read_only=True).contract is None
        assert list_runs(runs)[0].busy
    assert not list_runs(runs)[0].busy
    Run.open(path).close()


def test_a_killed_process_holds_nothing(runs: Path) -> None:
    path = create_run(runs)
    code = "import sys, pathlib\nfrom bcfl.federation.runs import Run\n"
    code += "run = Run.open(pathlib.Path(sys.argv[1]))\n"
    command = [sys.executable, "-c", code + "print(1, flush=True)\ninput()", str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert f"process {holder.pid} " in refusal(lambda: Run.open(path))
        holder.kill()
    Run.open(path).close()


def test_a_reader_writes_nothing(runs: Path) -> None:
    path = create_run(runs)
    (path / "run.lock").unlink()
    Run.open(path, read_only=True)
    assert [entry.name for entry in path.iterdir()] == ["run.json"]


def test_more_rounds(runs: Path) -> None:
    path = create_run(runs, rounds=3)
    with Run.open(path) as run:
        run.set_rounds(8)
        with pytest.raises(ConfigError):
            run.set_rounds(0)
        assert run.config.rounds == 8
    assert Run.open(path, read_only=True).config.rounds == 8


def test_a_full_disk_leaves_no_new_run(runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    runs.mkdir()
    with no_room():
        message = refusal(lambda: create_run(runs))
        refusal(lambda: Run.create(Config(run_dir=folder)))
    assert "free some space" in message
    assert list(runs.iterdir()) == []
    assert list(folder.iterdir()) == []


def test_a_full_disk_loses_nothing(runs: Path) -> None:
    path = create_run(runs)
    with Run.open(path) as run:
        content = (path / "run.json").read_bytes()
        with no_room():
            assert "free some space" in refusal(lambda: run.set_contract(ADDRESS))
            refusal(lambda: run.set_rounds(99))
        assert run.contract is None
        assert run.config.rounds == 10
        assert (path / "run.json").read_bytes() == content
        assert sorted(entry.name for entry in path.iterdir()) == ["run.json", "run.lock"]
        run.set_contract(ADDRESS)
    assert Run.open(path, read_only=True).contract == ADDRESS


def test_a_run_with_former_names_of_options_is_read(runs: Path) -> None:
    path = create_run(runs, check_clusters=False)
    content = json.loads((path / "run.json").read_text())
    options = content["config"]
    content["config"] = {old: options.pop(new) for old, new in RENAMED.items()} | options
    (path / "run.json").write_text(json.dumps(content))
    config = Run.open(path, read_only=True).config
    assert (config.check_clusters, config.check_min_norm) == (False, True)
