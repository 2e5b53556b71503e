"""Every page and its JSON, over HTTP: what the queries say, in bounded parts, to nobody but us."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bcfl.explorer import stream
from bcfl.explorer.security import POLICY
from bcfl.pages.texts import json_text
from tests.explorers import Served

PATHS = (
    "/",
    "/rounds",
    "/rounds/1",
    "/rounds/2",
    "/parties",
    "/devices/1",
    "/miners/0",
    "/models",
    "/models/0",
    "/models/1",
    "/models/1/check",
    "/contract",
    "/contract?function=owner",
    "/contract?function=binding&arg0=1&call=1",
    "/events",
    "/audit",
)


def json_of(served: Served, path: str) -> Any:
    answer, body = served.ask(path)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    return json.loads(body)


@pytest.mark.parametrize("path", PATHS)
def test_every_page_has_its_json(served: Served, path: str) -> None:
    answer, body = served.ask(path)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    name, _, query = path.partition("?")
    data_path = ("/overview" if name == "/" else name) + ".json" + f"?{query}" * bool(query)
    assert f'href="{data_path}"'.replace("&", "&amp;").encode() in body
    assert isinstance(json_of(served, data_path), dict)


def test_the_json_is_what_the_queries_say(served: Served) -> None:
    with served.explorer.target.open() as query:
        for path, view in (
            ("/rounds/1.json", query.round_view(1)),
            ("/devices/1.json", query.device_view(1)),
            ("/miners/0.json", query.miner_view(0)),
            ("/models/1.json", query.model_view(1)),
        ):
            page = json_of(served, path)
            for name, value in json.loads(json_text(view)).items():
                assert page[name] == value, (path, name)


def test_pages_say_what_may_run_and_who_may_look(served: Served) -> None:
    for path in (*PATHS, "/nothing", "/overview.json", "/static/charts.js"):
        answer, _ = served.ask(path)
        assert answer.headers["Content-Security-Policy"] == POLICY
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "unsafe" not in POLICY


def test_no_page_has_a_script_or_a_style_of_its_own(served: Served) -> None:
    for path in PATHS:
        _, body = served.ask(path)
        ours = body.count(b'<script src="/static/') + body.count(b'<script type="application/json">')
        assert body.count(b"<script") == ours > 0
        assert b"<style" not in body
        assert b' style="' not in body


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "", "localhost@evil", "[::2]"]
)
def test_foreign_names_are_refused(served: Served, host: str) -> None:
    assert served.ask("/", Host=host)[0].status == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:99", "127.0.0.1:1", "[::1]:8600"])
def test_our_names_are_answered_on_any_port(served: Served, host: str) -> None:
    assert served.ask("/overview.json", Host=host)[0].status == 200


def test_other_sites_may_link_and_nothing_else(served: Served) -> None:
    cross = {"Sec_Fetch_Site": "cross-site"}
    assert served.ask("/", **cross, Sec_Fetch_Mode="navigate")[0].status == 200
    assert served.ask("/models/1/check", **cross, Sec_Fetch_Mode="no-cors")[0].status == 403
    assert served.ask("/audit", "POST", **cross, Sec_Fetch_Mode="navigate")[0].status == 403
    assert served.ask("/audit", "POST", Origin="http://evil.example")[0].status == 403
    assert json_of(served, "/audit.json")["state"] == "never run"


def test_whoever_writes_is_refused(served: Served) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        for path in ("/", "/rounds/1", "/contract", "/models/0"):
            assert served.ask(path, method)[0].status == 405


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/rounds/99", 404),
        ("/rounds/-1", 404),
        ("/rounds/x", 404),
        ("/devices/99.json", 404),
        ("/miners/0x12.json", 404),
        ("/models/2", 404),
        ("/models/1/stored.safetensors", 404),
        ("/static/../app.py", 404),
        ("/static/%2e%2e/app.py", 404),
        ("/find?q=nothing", 404),
        ("/" + "x" * 3000, 414),
    ],
)
def test_what_is_not_there_is_said_in_one_line(served: Served, path: str, status: int) -> None:
    answer, body = served.ask(path)
    assert answer.status == status
    if path.endswith(".json"):
        assert len(json.loads(body)["error"].splitlines()) == 1


def test_calls_read_and_never_act(served: Served) -> None:
    asked = "/contract.json?call=1&function="
    with served.explorer.target.open() as query:
        assert json_of(served, f"{asked}binding&arg0=1")["call"]["result"] == query.history.binding(1)
    for text in ("start", "withdraw&arg0=0x" + "11" * 20, "nonsense", "binding&arg0=-1", "binding&arg0=x"):
        call = json_of(served, asked + text)["call"]
        assert call["result"] is None
        assert call["error"]


def test_events_are_filtered_and_paged(served: Served) -> None:
    with served.explorer.target.open() as query:
        events = query.events
    assert json_of(served, "/events.json")["total"] == len(events)
    voted = json_of(served, "/events.json?name=Voted&round=1")
    assert voted["total"] == sum(event.name == "Voted" for event in events)
    miner = voted["events"][0]["args"]["miner"]
    mine = json_of(served, f"/events.json?party={miner.lower()}")
    assert 0 < mine["total"] == sum(miner in event.args.values() for event in events)
    assert json_of(served, "/events.json?from=999999999")["events"] == []
    for odd in ("page=0", "page=99999", "page=-1", "page=x", "round=x", "from=%C2%B2", "name=%3Cscript%3E"):
        assert served.ask(f"/events?{odd}")[0].status == 200


def test_what_is_looked_for_is_found(served: Served) -> None:
    with served.explorer.target.open() as query:
        miner, device = next(iter(query.history.miners)), query.history.devices[1]
        block, transaction = query.history.blocks[1], next(iter(query.history.rounds[1].transactions))
    for text, place in (
        ("1", "/rounds/1"),
        (miner.lower(), f"/miners/{miner}"),
        (device[:12], "/devices/1"),
        (f"0x{block.root.hex()}", "/models/1"),
        (f"0x{transaction.hex()}", "/rounds/1"),
    ):
        answer, _ = served.ask(f"/find?q={text}")
        assert (answer.status, answer.headers["Location"]) == (303, place)


def test_a_model_that_nobody_holds_is_neither_right_nor_wrong(served: Served) -> None:
    check = json_of(served, "/models/1/check.json")
    assert check["holds"] is None
    assert "does not hold" in check["reason"]
    _, body = served.ask("/models/1/check")
    assert b"not checked" in body
    assert b">wrong<" not in body


def test_so_many_pages_listen_and_no_more(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MOST", 0)
    answer, _ = served.ask("/live")
    assert answer.status == 503


def test_how_many_miners_could_not_be_asked_is_said(served: Served) -> None:
    measured = served.explorer.measuring.statements
    assert b"could not be asked" not in served.ask("/")[1]
    measured.unreachable = ("0x" + "00" * 20, "0x" + "11" * 20)
    served.explorer.reader.cache.pop("summary", None)
    try:
        assert b"2 miners of 3 could not be asked what is stated of the models" in served.ask("/")[1]
        assert json.loads(served.ask("/overview.json")[1])["unreachable"] == list(measured.unreachable)
    finally:
        measured.unreachable = ()
        served.explorer.reader.cache.pop("summary", None)


def test_no_party_chooses_which_metrics_of_the_others_are_shown(served: Served) -> None:
    measured = served.explorer.measuring.statements
    base = {"round": 1, "role": "miner", "samples": 3, "loss": 0.5, "cid": "b" * 59}
    parties = [
        ("0x" + "00" * 20, {"zzz": 0.125}),
        ("0x" + "aa" * 20, {"f1": 0.25}),
        ("0x" + "bb" * 20, {"f1": 0.25}),
    ]
    measured[1] = [{**base, "party": party, "metrics": metrics} for party, metrics in parties]  # type: ignore[typeddict-item]
    served.explorer.reader.cache.pop("summary", None)
    try:
        _, body = served.ask("/rounds/1")
    finally:
        measured.clear()
        served.explorer.reader.cache.pop("summary", None)
    assert b">F1</th>" in body
    assert b"Zzz" not in body
