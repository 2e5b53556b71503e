"""While everything is read for the first time, whoever asks is told how far that has come."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bcfl.errors import Unreachable
from bcfl.explorer import app, stream
from bcfl.explorer.facts import Statements, keep_up
from bcfl.explorer.target import Target
from bcfl.federation.query import open_run
from bcfl.federation.subject import of_run
from bcfl.federation.views.summary import summary
from tests.explorers import Gate, Served, serving
from tests.local_federation import LocalFederation
from tests.played_run import begin_run, play_run


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> LocalFederation:
    """A finished run that tests only look at."""
    return play_run(tmp_path_factory.mktemp("reading") / "runs")


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Holds up the reading; opened at the end, so that no thread waits."""
    gate = Gate()
    yield gate
    gate.opened.set()


def page(served: Served, path: str) -> str:
    answer, body = served.ask(path)
    assert answer.status == 200
    return body.decode()


def filled(served: Served, path: str) -> str:
    """Return a page once it is no longer one that says how far the reading has come."""
    for _ in range(100):
        text = page(served, path)
        if "data-reading" not in text:
            return text
        time.sleep(0.1)
    raise AssertionError("the page was never filled")


def test_a_page_says_within_a_second_how_far_the_reading_has_come(
    played: LocalFederation, gate: Gate
) -> None:
    with serving(gate.target(played.path), measures=False) as served:
        start = time.monotonic()
        text = page(served, "/")
        assert time.monotonic() - start < 1.0
        assert "Still reading" in text
        assert "10 of " in text
        assert '<noscript><meta http-equiv="refresh" content="2"></noscript>' in text
        assert 'href="/overview.json"' in text
        assert '<a href="/parties" aria-current="page">' in page(served, "/devices/1")
        gate.opened.set()
        text = filled(served, "/")
        assert "Every device in every round" in text
        assert "refresh" not in text


def test_data_waits_longer_and_is_never_half_of_it(
    played: LocalFederation, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "DATA_PATIENCE", 0.1)
    with serving(gate.target(played.path), measures=False) as served:
        answer, body = served.ask("/overview.json")
        view = json.loads(body)
        assert answer.status == 503
        assert view["reading"]["unit"] == "blocks"
        assert 0 < view["reading"]["done"] < view["reading"]["total"]
        assert "ask again" in view["error"]
        monkeypatch.setattr(app, "DATA_PATIENCE", 30.0)
        gate.opened.set()
        answer, body = served.ask("/overview.json")
        assert answer.status == 200
        assert len(json.loads(body)["rounds"]) == 6


def test_pages_that_wait_are_told_to_ask_again(
    played: LocalFederation, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "PROGRESS_SECONDS", 0.05)
    with serving(gate.target(played.path), measures=False) as served:
        page(served, "/")
        before = served.explorer.stream.version
        time.sleep(0.5)
        assert served.explorer.stream.version > before
        gate.opened.set()
        filled(served, "/")
        time.sleep(0.3)
        last = served.explorer.stream.version
        time.sleep(0.5)
        assert served.explorer.stream.version == last


def test_a_reading_that_fails_says_why_and_is_tried_again(played: LocalFederation, gate: Gate) -> None:
    gate.failure = Unreachable("the node says nothing")
    gate.opened.set()
    with serving(gate.target(played.path), measures=False) as served:
        answer, body = served.ask("/")
        assert answer.status == 502
        assert "the node says nothing" in body.decode()
        gate.failure = None
        assert "Every device in every round" in filled(served, "/")


def test_a_summary_that_grows_says_what_a_new_one_says(tmp_path: Path) -> None:
    local = begin_run(tmp_path / "runs")
    statements = Statements()
    with serving(Target(lambda: open_run(local.path), 3600.0), measures=False) as served:
        reader = served.explorer.reader
        for _ in range(3):
            local.play()
            reader.look(lambda query: keep_up(query, reader.cache, statements))
            grown = reader.look(lambda _: reader.cache["summary"].view)
            with open_run(local.path) as query:
                assert grown == summary(of_run(query), most_votes=0)
