"""Commands that load nothing of the others are the same, and what is read in part is what is read whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from bcfl.cli.app import app
from bcfl.cli.root import ALONE, app_of
from bcfl.federation.query import open_run
from bcfl.relay.statements import FORM, names_round
from bcfl.roles.miner import findings
from tests.played_run import play_run


@pytest.mark.parametrize("name", ALONE)
def test_a_command_alone_is_the_same(name: str) -> None:
    runner = CliRunner()
    whole, alone = runner.invoke(app, [name, "--help"]), runner.invoke(app_of(name), [name, "--help"])
    assert whole.exit_code == alone.exit_code == 0
    assert alone.output == whole.output
    options = [name, "--nothing-of-the-kind", "1"]
    assert runner.invoke(app_of(name), options).output == runner.invoke(app, options).output


def test_one_round_of_a_journal_and_of_statements_is_what_all_of_them_say(tmp_path: Path) -> None:
    local = play_run(tmp_path / "runs")
    seen = 0
    with open_run(local.path) as query:
        for miner in query.history.miners:
            folder = query.journals / miner
            whole = findings.read(folder)
            for number in query.history.rounds:
                assert findings.read_round(folder, number) == whole.get(number)
                seen += number in whole
            with (folder / findings.FILE).open("a") as file:
                file.write(
                    '{"findings": [], "round": 3}\n{"round": 4, "findings": []}\n{"findings": [{"x": 1}, "rou'
                )
            again = findings.read(folder)
            for number in query.history.rounds:
                assert findings.read_round(folder, number) == again.get(number)
            assert findings.read_round(folder, 3) == findings.read_round(folder, 4) == []
        for number in query.history.rounds:
            everything = query.statements().view(number, number)
            assert query.statements_view(number) == everything
    assert seen > 0


def test_a_statement_begins_with_its_round() -> None:
    text = f'{{"statement":"{FORM}","round":30,"root":"'.encode()
    assert [names_round(text, number) for number in (30, 3, 300)] == [True, False, False]
