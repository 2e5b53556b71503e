"""`bcfl report`: one file that stands alone, in every format, whatever people have called themselves."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bcfl.cli import main
from bcfl.federation.documents.markdown import to_markdown
from bcfl.federation.documents.page import to_html
from bcfl.federation.documents.table import to_csv
from bcfl.federation.query import open_run
from bcfl.federation.subject import Subject, of_run
from bcfl.federation.views.summary import Summary, summary
from tests.unit.cli.conftest import play_two_rounds

HOSTILE = "</script><img src=x onerror=alert(1)>|`\u202e=1+1"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("reported") / "runs"
    play_two_rounds(runs)
    return runs


@pytest.fixture(scope="module")
def subject(runs: Path) -> Iterator[Subject]:
    with open_run(runs=runs) as query:
        yield of_run(query)


@pytest.fixture(scope="module")
def hostile(subject: Subject) -> Summary:
    """A summary in which every text that somebody else may choose is hostile."""
    view = summary(replace(subject, name=HOSTILE, options={"task": HOSTILE}))
    for item in view["miners"]:
        item["attack"] = item["endpoint"] = HOSTILE
    for device in view["devices"]:
        device["attack"] = HOSTILE
    party = view["miners"][0]["miner"]
    for round_ in view["rounds"]:
        round_["statements"] = [
            {
                "round": round_["round"], "party": party, "role": "miner", "samples": 3, "loss": 0.5,
                "metrics": {HOSTILE: 0.25, "=cmd()": None}, "cid": "b" * 59,
            }
        ]  # fmt: skip
        round_["figure"] = {
            "role": "miner", "parties": 1, "loss": 0.5, "metrics": {HOSTILE: 0.25, "=cmd()": None},
        }  # fmt: skip
    return view


class Page(HTMLParser):
    """What stands in a page: its tags, what they point at, its scripts, styles and visible text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": []}
        self.text = ""
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in self.inside:
            self._open.append(tag)
            self.inside[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in self.inside:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open:
            self.inside[self._open[-1]][-1] += data
        else:
            self.text += data


def test_a_page_is_one_file_that_asks_for_nothing(runs: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    start = time.process_time()
    assert main(["report", "--runs", str(runs), "-o", str(path)]) == 0
    assert time.process_time() - start < 10  # 1 on a slow core
    text = path.read_text()
    assert len(text) < 2_000_000
    page = Page(text)
    assert not {tag for tag, _ in page.tags} & {"link", "img", "iframe", "object", "embed", "base", "form"}
    assert not [attrs for _, attrs in page.tags if "src" in attrs or any(n.startswith("on") for n in attrs)]
    assert not [attrs for _, attrs in page.tags if "style" in attrs]
    assert "url(" not in "".join(page.inside["style"])
    assert "@import" not in "".join(page.inside["style"])


def test_the_policy_of_a_page_names_its_own_style_and_script(subject: Subject) -> None:
    page = Page(to_html(summary(subject), "bcfl"))
    (policy,) = [
        attrs["content"] or ""
        for tag, attrs in page.tags
        if tag == "meta" and attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    kinds = [attrs.get("type") for tag, attrs in page.tags if tag == "script"]
    code = [text for kind, text in zip(kinds, page.inside["script"], strict=True) if kind is None]
    assert len(code) == len(page.inside["style"]) == 1
    for text in (*code, *page.inside["style"]):
        assert f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


def test_a_page_is_read_without_its_script(subject: Subject) -> None:
    view = summary(subject)
    words = " ".join(Page(to_html(view, "bcfl")).text.split())
    assert "3 of 4 accepted" in words
    assert "bcfl audit --run" in words
    assert view["verify"]["contract"] in words
    assert f"{view['costs']['gas']:,}" in words
    for device in view["devices"]:
        assert device["device"][:6] in words


def test_names_are_only_text_in_a_page(hostile: Summary, subject: Subject) -> None:
    tags = [tag for tag, _ in Page(to_html(summary(subject), "bcfl")).tags]
    page = Page(to_html(hostile, "bcfl"))
    assert {tag for tag, _ in page.tags} <= {*tags, "table", "caption", "small", "b"}
    assert "</script><img" in page.text
    assert "\u202e" not in to_html(hostile, "bcfl")
    assert "alert(1)>" not in "".join(page.inside["style"])


def test_names_are_only_text_in_markdown(hostile: Summary) -> None:
    text = to_markdown(hostile)
    assert not re.search(r"(?<!\\)<img", text)
    assert "\u202e" not in text
    rows = [line for line in text.splitlines() if line.startswith("| 0x")]
    cells = {len(re.split(r"(?<!\\)\|", row)) for row in rows if "sign" not in row}
    assert rows
    assert len(cells) <= 2  # of miners, and of devices


def test_names_are_no_formulas_in_a_table(hostile: Summary) -> None:
    rows = list(csv.reader(io.StringIO(to_csv(hostile))))
    assert len({len(row) for row in rows}) == 1
    assert not [cell for row in rows for cell in row if cell[:1] in ("=", "+", "-", "@")]
    assert "'=cmd()" in rows[0]


def test_every_format_says_the_same(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--runs", str(runs), "--format", "json"]) == 0
    view = json.loads(capsys.readouterr().out)
    assert main(["report", "--runs", str(runs), "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["gas"] for row in rows] == [str(item["gas"]) for item in view["rounds"]]
    assert main(["report", "--runs", str(runs), "--format", "md"]) == 0
    text = capsys.readouterr().out
    assert f"{view['costs']['gas']:,} gas" in text
    assert view["verify"]["contract"] in text


def test_a_bundle_is_reported_without_its_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from bcfl.bundle.writer import write_bundle
    from tests.local_federation import LocalFederation

    local = LocalFederation(tmp_path / "local", devices=3, miners=3)
    local.play()
    write_bundle(local.ledger.contract, local.store, tmp_path / "x.bcfl")
    page = tmp_path / "page.md"
    assert main(["report", str(tmp_path / "x.bcfl"), "-o", str(page), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["format"], answer["bytes"]) == ("md", len(page.read_bytes()))
    assert f"bcfl audit {tmp_path / 'x.bcfl'} --block-hash 0x" in page.read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--format", "pdf"], "there is no format 'pdf'"),
        (["--coin-price", "3000"], "--coin-price needs --gas-price"),
        (["--gas-price", "2.5"], "--gas-price '2.5'"),
        (["--gas-price", "2 gwei", "--coin-price", "much"], "--coin-price 'much' is not a price"),
        (["--gas-price", "2 gwei", "--currency", "<b>"], "--currency '<b>'"),
        (["--block-hash", "0x00"], "--block-hash is for a bundle"),
    ],
)
def test_bad_input_is_told_in_one_line(
    runs: Path, tmp_path: Path, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "report.html"
    assert main(["report", "--runs", str(runs), "-o", str(path), *options]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not path.exists()


def test_a_report_that_is_there_is_not_overwritten_unasked(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["report", "--runs", str(runs)]) == 0
    assert main(["report", "--runs", str(runs)]) == 2
    assert "report.html exists: name a file with -o" in capsys.readouterr().err
