"""Foreign text never commands a terminal: escape sequences, control characters, marks of direction."""

from __future__ import annotations

import ast
import io
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bcfl.cli import main
from bcfl.cli.node import logs, watch
from bcfl.cli.output import display, printing, terminal
from bcfl.cli.output.printing import Column
from bcfl.errors import LedgerError
from bcfl.ledger.contract import Event
from testkit.harness import Federation
from tests.unit.cli.conftest import Bcfl

ROOT = Path(__file__).parents[3]
# A title, a cleared screen, a link, the clipboard, C1 controls, directions, invisible letters, new lines.
HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J\x1b]8;;http://evil\x1b\\x\x1b]52;c;eA==\x07\x9b31m\x00\x7f\b\b"
    "\u202e\u2066\u200b\ufeff\u2028\rerror: all is well\nround 9 finalized"
)
ADDRESS = "0x" + "11" * 20


def is_harmless(text: str) -> bool:
    """Whether a terminal only shows it; commands of bcfl end lines, and nothing else."""
    return all(letter.isprintable() for letter in text.replace("\n", ""))


def test_the_text_of_this_test_is_hostile() -> None:
    assert not is_harmless(HOSTILE)
    assert terminal.plain("\x1b[31mrot\u202e\n· ü …") == "\\x1b[31mrot\\u202e\\n· ü …"


@pytest.mark.parametrize("is_terminal", [False, True])
@pytest.mark.parametrize(
    "write",
    [
        lambda: terminal.say(HOSTILE),
        lambda: printing.print_fields([("endpoint", HOSTILE)]),
        lambda: printing.print_table([Column("name"), Column("value")], [(HOSTILE, HOSTILE)], "title"),
        lambda: printing.print_folded(HOSTILE, 4),
        lambda: printing.print_json({"name": HOSTILE, HOSTILE: [HOSTILE]}),
        lambda: display.Display().line(HOSTILE),
        lambda: display.JsonDisplay().event("died", HOSTILE, reason=HOSTILE),
        lambda: watch._print(_event(), False),
        lambda: watch._print(_event(), True),
        lambda: watch._retry(HOSTILE),
    ],
)
def test_what_prints(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[], None],
    is_terminal: bool,
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    write()
    output = "".join(capsys.readouterr())
    assert "owned" in output
    assert is_harmless(output)


def _event() -> Event:
    return Event("Announced", {"miner": ADDRESS, "endpoint": HOSTILE}, 1, 1, bytes(32), 0, ADDRESS)


def test_json_says_the_same_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    printing.print_json({"name": HOSTILE + "😀\ud800"})
    assert json.loads(capsys.readouterr().out) == {"name": HOSTILE + "😀\ud800"}


@pytest.mark.parametrize("form", list(logs.LogFormat))
def test_logs(capsys: pytest.CaptureFixture[str], form: logs.LogFormat) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        logs.start_logging(form)
        logging.getLogger("bcfl.test").warning("the node says %s", HOSTILE)
    finally:
        root.handlers[:], root.level = handlers, level
    output = capsys.readouterr().err
    assert "owned" in output
    assert output.count("\n") == 1
    assert is_harmless(output)


def test_errors(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise LedgerError(f"the node refused: {HOSTILE}")

    monkeypatch.setattr("bcfl.cli.app.app", refuse)
    assert main(["status"]) == 2
    output = capsys.readouterr().err
    assert output.count("\n") == 1
    assert "owned" in output
    assert is_harmless(output)


def test_an_endpoint_on_chain(bcfl: Bcfl, open_rounds: Federation) -> None:
    """Anybody who stakes may announce anything; every command that shows it shows it harmlessly."""
    endpoint = HOSTILE.replace("\ufeff", "")
    open_rounds.send(open_rounds.miner_keys[0], "announce", endpoint)
    shown = 0
    for words in (["events"], ["events", "Announced"], ["miner", 0], ["miners"], ["round"], ["leader"]):
        for options in ([], ["--json"]):
            answer = bcfl(*words, *options)
            shown += "owned" in answer.out
            assert is_harmless(answer.out + answer.err)
    assert shown >= 4


def test_letters_that_a_terminal_has_not_end_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", stream)
    terminal.say("https://\u540d.example \xe9")
    assert stream.buffer.getvalue() == b"https://\\u540d.example \xe9\n"


def test_all_commands_write_through_one_place() -> None:
    places = []
    for path in sorted((ROOT / "bcfl").rglob("*.py")):
        if path.name == "terminal.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "print",
                "sys.stdout.write",
                "sys.stderr.write",
                "typer.echo",
                "typer.secho",
            ):
                places.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert {place.split(":")[0] for place in places} <= {
        "bcfl/ledger/devnet/jsonrpc.py",  # its own defects
        "bcfl/specification/vectors.py",  # a tool for files of one's own
    }
