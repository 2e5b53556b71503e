"""The README as a reader meets it: what it shows runs, what it names exists, what it quotes is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from bcfl.cli import main
from bcfl.config import Config
from bcfl.learning import resolve

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
VARIABLE = re.compile(r"(BCFL_[A-Z_]+)=(\S+)")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)\)")


def blocks(language: str) -> list[str]:
    return [text for name, text in FENCE.findall(README) if name == language]


def shell(word: str) -> list[list[str]]:
    """The lines of the shell blocks that hold a command, split into words."""
    lines = [shlex.split(line) for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if word in line]


def lasting() -> list[list[str]]:
    """The commands in text blocks, split into words: they keep running, and are not run here."""
    lines = [line for block in blocks("text") for line in block.splitlines()]
    return [shlex.split(line.rstrip("& ")) for line in lines if line.startswith("bcfl ")]


def inline(command: str) -> list[list[str]]:
    """The words of every command between backticks in the prose."""
    prose = FENCE.sub("", README)
    return [found.split() for found in re.findall(rf"`({command} [^`]+)`", prose)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory from which the examples can be imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))
    return tmp_path


def run(words: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Run one line of a shell block, its variables set for it alone; returns the exit code."""
    start = words.index("bcfl")
    with monkeypatch.context() as patch:
        for setting in words[:start]:
            found = VARIABLE.fullmatch(setting)
            assert found is not None
            patch.setenv(found[1], found[2])
        return main(words[start + 1 :])


def test_every_shell_block_is_made_of_commands_that_are_tested_here() -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    assert len(lines) == len(shell("make")) + len(shell("bcfl"))


def test_every_command_shown_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "bcfl.toml").write_text(blocks("toml")[0])
    for words in shell("bcfl"):
        assert run(words, monkeypatch) == 0, (words, capsys.readouterr().err)
        said = capsys.readouterr()
        assert said.out.strip()
    assert (folder / "model.safetensors").stat().st_size > 0


@pytest.mark.usefixtures("folder")
def test_what_one_sees_has_the_columns_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--devices", "4", "--miners", "2", "--rounds", "1"]) == 0
    shown = next(line for line in blocks("text")[0].splitlines() if line.startswith("round"))
    assert shown.split() in [line.split() for line in capsys.readouterr().err.splitlines()]


@pytest.mark.usefixtures("folder")
def test_the_library_s_block_runs(capsys: pytest.CaptureFixture[str]) -> None:
    block = next(text for text in blocks("python") if "import bcfl\n" in text)
    exec(compile(block, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[:2]] == [["1", "finalized"], ["2", "finalized"]]
    assert len(lines) == 3


def test_the_own_task_is_the_example_verbatim() -> None:
    assert (ROOT / "examples" / "task.py").read_text(encoding="utf-8") in blocks("python")


@pytest.mark.usefixtures("folder")
def test_the_own_task_resolves() -> None:
    task = resolve("examples.task:wine")
    data = task.dataset(None)
    assert (task.name, len(data.train), len(data.test)) == ("wine", 142, 36)


def test_the_sources_of_options_come_to_what_the_text_says(folder: Path) -> None:
    (folder / "bcfl.toml").write_text(blocks("toml")[0])
    words = next(words for words in shell("bcfl") if "-c" in words)
    env = dict(VARIABLE.findall(" ".join(words)))
    config = Config.load(pairs=[words[words.index("-c") + 1]], env=env)
    sentence = "this is a run of 6 devices, 3 miners and 2 rounds:"
    assert sentence in README
    assert (
        f"this is a run of {config.devices} devices, {config.miners} miners and {config.rounds} rounds:"
        == sentence
    )
    assert config.reward == 5 * 10**17


def test_every_target_of_make_that_is_named_exists() -> None:
    named = {words[1] for words in [*shell("make"), *inline("make")]}
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert targets is not None
    assert {"run", "test"} <= named <= set(targets[1].split())


def test_every_command_and_option_that_is_named_exists() -> None:
    import typer.main

    from bcfl.cli.app import app

    root = typer.main.get_command(app)
    every: set[str] = set()
    for words in [*shell("bcfl"), *lasting(), *inline("bcfl")]:
        command, rest = root, words[words.index("bcfl") + 1 :]
        while commands := getattr(command, "commands", None):
            assert rest[0] in commands, words
            command, rest = commands[rest[0]], rest[1:]
        known = {flag for parameter in command.params for flag in parameter.opts} | {"--help"}
        assert {word for word in rest if re.match("--?[a-z]", word)} <= known, words
        every |= known
    run_options = {flag for parameter in root.commands["run"].params for flag in parameter.opts}  # type: ignore[attr-defined]
    assert set(re.findall(r"`(--[a-z-]+)", README)) <= run_options | every


def test_every_script_that_is_named_exists() -> None:
    named = re.findall(r"\b((?:examples|deploy)/\w+\.\w+)", README)
    assert {"examples/device.py", "examples/miner.py", "examples/query.py"} <= set(named)
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_every_default_in_the_table_of_options_is_the_default() -> None:
    rows = re.findall(r"^\| `--([a-z-]+)` \| `?([^`| ]+)`? \|", README, re.MULTILINE)
    assert len(rows) == 6
    for option, default in rows:
        assert str(Config.model_fields[option.replace("-", "_")].default) == default


def test_every_file_and_folder_that_is_named_exists() -> None:
    for text in [README, *(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))]:
        base = ROOT if text is README else ROOT / "docs"
        assert [link for link in LINK.findall(text) if not (base / link).exists()] == []
    house = next(text for text in blocks("text") if text.startswith("contracts/"))
    inside = ""
    for line in house.splitlines():
        name = line.split()[0]
        inside = inside if line.startswith(" ") else name
        assert (ROOT / (inside + name if line.startswith(" ") else name)).exists(), name
