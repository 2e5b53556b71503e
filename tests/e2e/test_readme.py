"""The README and the pages beside it as a reader meets them: what they show runs, and what they name exists.

`docs/walk.md` and `docs/own-data.md` have tests of their own, `tests/e2e/test_walk.py` and
`tests/integration/processes/test_own_data.py`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bcfl.cli import main
from bcfl.config import Config
from bcfl.learning import resolve
from testkit.flower_apps import write_app

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
VARIABLE = re.compile(r"(BCFL_[A-Z_]+)=(\S+)")
PLAYED = (
    "README",
    "docs/commands",
    "docs/tasks",
    "docs/modes",
    "docs/adversaries",
    "docs/audit",
    "docs/flower",
    "docs/results",
    "docs/privacy",
    "docs/differential-privacy",
)
PAGES = {
    str(path.relative_to(ROOT).with_suffix("")): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
}
GROUPS = ("account", "chain", "start")
README, COMMANDS, TASKS = PAGES["README"], PAGES["docs/commands"], PAGES["docs/tasks"]


def blocks(page: str, language: str) -> list[str]:
    return [block for name, block in FENCE.findall(page) if name == language]


def shell_lines(page: str) -> list[str]:
    return [line for block in blocks(page, "sh") for line in block.splitlines()]


def commands_in_blocks(page: str) -> Iterator[list[str]]:
    """Yield the words of every command of bcfl in a block, also of those that keep running."""
    for block in [*blocks(page, "sh"), *blocks(page, "text")]:
        for line in block.splitlines():
            if re.match(r"(BCFL_\w+=\S+ )*bcfl ", line):
                words = shlex.split(line.partition(" > ")[0].rstrip("& "), comments=True)
                yield words[words.index("bcfl") + 1 :]


def commands_in_prose(page: str, program: str) -> Iterator[list[str]]:
    """Yield the words of every command between backticks in the prose."""
    for command in re.findall(rf"`{program} ([^`]+)`", FENCE.sub("", page)):
        yield command.split()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory from which the examples can be imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))
    return tmp_path


def run_line(words: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Run one line of a shell block, its variables set for it alone; return the exit code."""
    start = words.index("bcfl")
    with monkeypatch.context() as patch:
        for setting in words[:start]:
            variable = VARIABLE.fullmatch(setting)
            assert variable is not None
            patch.setenv(variable[1], variable[2])
        return main(words[start + 1 :])


@pytest.mark.parametrize("name", [name for name in PAGES if name not in ("docs/walk", "docs/own-data")])
def test_every_shell_block_is_made_of_commands_that_are_tested_here(name: str) -> None:
    other = [line for line in shell_lines(PAGES[name]) if "bcfl" not in line.split()]
    assert [line for line in other if line.split()[0] != "make"] == []
    assert len(other) == len(shell_lines(PAGES[name])) or name in PLAYED


@pytest.mark.parametrize("name", PLAYED)
def test_every_command_of_a_page_runs(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if name == "docs/flower":
        write_app(folder / "my-flower-app", "sklearn", "my_flower_app")
    for settings in blocks(PAGES[name], "toml"):
        (folder / "bcfl.toml").write_text(settings)
    commands = [words for line in shell_lines(PAGES[name]) if "bcfl" in (words := shlex.split(line))]
    assert commands
    for words in commands:
        assert run_line(words, monkeypatch) == 0, (words, capsys.readouterr().err)
        assert capsys.readouterr().out.strip()
        for output in [value for flag, value in pairwise(words) if flag == "-o"]:
            assert (folder / output).stat().st_size > 0


@pytest.mark.usefixtures("folder")
def test_what_one_sees_has_the_columns_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--devices", "4", "--miners", "2", "--rounds", "1"]) == 0
    columns = next(line for line in blocks(README, "text")[0].splitlines() if line.startswith("round"))
    assert columns.split() in [line.split() for line in capsys.readouterr().err.splitlines()]


@pytest.mark.usefixtures("folder")
def test_the_library_s_block_runs(capsys: pytest.CaptureFixture[str]) -> None:
    block = next(block for block in blocks(README, "python") if "import bcfl\n" in block)
    exec(compile(block, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[:2]] == [["1", "finalized"], ["2", "finalized"]]
    assert len(lines) == 3


@pytest.mark.usefixtures("folder")
def test_the_query_s_block_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--devices", "4", "--miners", "2", "--rounds", "2", "--quiet"]) == 0
    capsys.readouterr()
    exec(compile(blocks(COMMANDS, "python")[0], "commands.md", "exec"), {})
    assert re.fullmatch(r"finalized 0x[0-9a-fA-F]{40}\n", capsys.readouterr().out)


@pytest.mark.usefixtures("folder")
def test_the_blocks_about_results_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--devices", "4", "--miners", "2", "--rounds", "2", "--quiet"]) == 0
    capsys.readouterr()
    for block in blocks(PAGES["docs/results"], "python"):
        exec(compile(block, "results.md", "exec"), {})
    first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"\[\d, \d\] \d+", first)
    assert second.startswith("1 {'metrics/accuracy': ")


def test_what_python_blocks_import_exists() -> None:
    for page in PAGES.values():
        for block in blocks(page, "python"):
            for line in block.splitlines():
                if line.startswith("from bcfl"):
                    exec(line, {})


def test_the_own_task_is_the_example_verbatim() -> None:
    assert (ROOT / "examples" / "task.py").read_text(encoding="utf-8") in blocks(TASKS, "python")


@pytest.mark.usefixtures("folder")
def test_the_own_task_resolves() -> None:
    task = resolve("examples.task:wine")
    data = task.dataset(None)
    assert (task.name, len(data.train), len(data.test)) == ("wine", 142, 36)


def test_the_sources_of_options_come_to_what_the_text_says(folder: Path) -> None:
    (folder / "bcfl.toml").write_text(blocks(COMMANDS, "toml")[0])
    words = next(words for line in shell_lines(COMMANDS) if "-c" in (words := shlex.split(line)))
    env = dict(VARIABLE.findall(" ".join(words)))
    config = Config.load(pairs=[words[words.index("-c") + 1]], env=env)
    sentence = "this is a run of 6 devices, 3 miners and 2 rounds:"
    assert sentence in COMMANDS
    assert (
        f"this is a run of {config.devices} devices, {config.miners} miners and {config.rounds} rounds:"
        == sentence
    )
    assert config.reward == 5 * 10**17


def test_every_target_of_make_that_is_named_exists() -> None:
    shown = [line.split()[1:] for page in PAGES.values() for line in shell_lines(page) if "make" in line]
    inline = [words for page in PAGES.values() for words in commands_in_prose(page, "make")]
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert targets is not None
    assert {"run", "test"} <= {words[0] for words in [*shown, *inline]} <= set(targets[1].split())


def root_command() -> Any:
    import typer.main

    from bcfl.cli.app import app

    return typer.main.get_command(app)


def flags_of(command: Any) -> set[str]:
    options = [flag for parameter in command.params for flag in [*parameter.opts, *parameter.secondary_opts]]
    return {*options, "--help"}


def all_commands() -> dict[tuple[str, ...], Any]:
    """Return every command by its words: `("start", "miner")`."""
    commands: dict[tuple[str, ...], Any] = {}
    for name, command in root_command().commands.items():
        parts = getattr(command, "commands", None)
        commands |= {(name, part): value for part, value in parts.items()} if parts else {(name,): command}
    return commands


def test_every_command_and_option_that_is_named_exists() -> None:
    root, commands = root_command(), all_commands()
    every = flags_of(root).union(*(flags_of(command) for command in commands.values()))
    for name, page in PAGES.items():
        for words in [*commands_in_blocks(page), *commands_in_prose(page, "bcfl")]:
            if words[0].startswith("-") or words[0].isupper() or (words == [words[0]] and words[0] in GROUPS):
                continue
            key = next((key for key in commands if list(key) == words[: len(key)]), None)
            assert key is not None, (name, words)
            options = {word for word in words[len(key) :] if re.match("--?[a-z]", word)}
            assert options <= flags_of(commands[key]), (name, words)
        assert set(re.findall(r"`(--[a-z-]*[a-z])(?: [^`]*)?`", page)) <= every, name


def test_the_readme_lists_every_command() -> None:
    listed = list(commands_in_prose(README, "bcfl"))
    for key in all_commands():
        assert any(words[: len(key)] == list(key) for words in listed), key


def test_every_default_in_the_table_of_options_is_the_default() -> None:
    rows = re.findall(r"^\| `--([a-z-]+)` \| `?([^`| ]+)`? \|", COMMANDS, re.MULTILINE)
    assert len(rows) == 8
    for option, default in rows:
        assert str(Config.model_fields[option.replace("-", "_")].default) == default
