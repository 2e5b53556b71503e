"""Measure how long the explorer's pages take: `python -m benchmarks.explorer [--browser]`.

A federation of 1,000 devices and 500 rounds is made up in memory. The first answer may be a page that says
how far the reading has come; the overview follows once every round has been read. Later answers are what a
person waits for while nothing happens, a live update what a round that comes costs, in seconds of the
processor too. With --browser, until Chromium has drawn.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import urlopen

from bcfl.config import Config
from bcfl.explorer.app import Explorer
from bcfl.explorer.server import ExplorerServer, address_of, listen
from bcfl.explorer.target import Target
from bcfl.federation.query import LocalQuery, Query
from bcfl.ledger.contract import Contract, Event
from bcfl.ledger.federation import FederationLedger
from bcfl.protocol.rounds import History, Member, Round, Submission
from bcfl.protocol.types import Block, Clock, Engine, Opening, Phase, Update, Verdict, Voter
from bcfl.protocol.verification import Vote
from bcfl.storage import DirectoryStore
from testkit import harness

PAGES = (
    "/",
    "/rounds",
    "/rounds/250",
    "/parties",
    "/devices/500",
    "/miners/0",
    "/models",
    "/events",
    "/contract",
)
READING = b"data-reading"  # in the page that is shown while everything is read
CHROMIUM = "/usr/bin/chromium"
ZERO, ADDRESS = bytes(32), "0x" + "22" * 20
REJECTED = 13  # one update in so many


class Crowd(LocalQuery):
    """A run whose history is made up; its chain holds a contract that nothing has happened to."""

    def __init__(self, path: Path, history: History) -> None:
        federation = harness.Federation()
        federation.contract.gas_of = lambda transaction: 60_000  # type: ignore[method-assign]  # noqa: ARG005
        answer = federation.contract.call

        def call(function: str, *args: Any, **options: Any) -> Any:
            return ADDRESS if function == "binding" else answer(function, *args, **options)

        federation.contract.call = call  # type: ignore[method-assign]
        Query.__init__(self, FederationLedger(federation.contract), DirectoryStore(path), path, "bcfl run")
        self._opened, self._deployer = {}, None
        self.path, self.config = path, Config()
        self.history, self.events = history, list(_events(history))
        self._follow(federation.contract)
        current = max(history.rounds)
        self.clock = Clock(Phase.COMMIT, 0, current, history.rounds[current].opened, 2**31, 0, 1)

    def _follow(self, contract: Contract) -> None:
        """Let a block stand for each round that `bring` has brought."""
        request, self.coming, self.came = contract.chain.request, list[Round](), 0

        def answer(method: str, *params: Any) -> Any:
            result = request(method, *params)
            if method == "eth_getBlockByNumber" and params[0] == "latest":
                return {**result, "number": hex(int(result["number"], 16) + len(self.coming))}
            if method == "eth_getBlockByNumber":
                return request(method, "latest", False) | {"number": params[0]}
            return result

        def events(*_: object) -> Iterator[Event]:
            while self.came < len(self.coming):
                self.came += 1
                yield from self._come(self.coming[self.came - 1])

        contract.chain.request = answer  # type: ignore[method-assign]
        contract.events = events  # type: ignore[assignment, method-assign]

    def bring(self) -> None:
        """Let a block come in which a whole round has happened."""
        number = max(self.history.rounds) + 1
        self.coming.append(_round(number, len(self.history.devices), list(self.history.miners)))

    def _come(self, round_: Round) -> Iterator[Event]:
        """Add a round to the history, and yield events that are about it."""
        number = round_.number
        self.history.rounds[number] = round_
        assert round_.block is not None
        self.history.blocks.append(round_.block)
        for name in round_.transactions:
            args = {"round": number, "miner": next(iter(self.history.miners)), "endpoint": ""}
            yield Event("Announced", args, number, number * 100, name, 0, ADDRESS)

    def close(self) -> None:
        """Do nothing: the chain is in memory."""


def crowd(rounds: int, devices: int, miners: int) -> History:
    """Return a history of any size: every device in every round, a few updates rejected."""
    history = History(1)
    history.devices = [f"0x{number:040x}" for number in range(devices)]
    history.indices = {account: index for index, account in enumerate(history.devices)}
    history.join_rounds = dict.fromkeys(history.devices, 1)
    accounts = [f"0x{10**6 + number:040x}" for number in range(miners)]
    history.miners = {account: Member(account, i, 10**18, 1) for i, account in enumerate(accounts)}
    history.seats = list(history.miners.values())
    history.blocks = [Block(ZERO, 0, ZERO, ZERO, ZERO, accounts[0], 0)]
    for number in range(1, rounds + 1):
        round_ = history.rounds[number] = _round(number, devices, accounts)
        assert round_.block is not None
        history.blocks.append(round_.block)
    return history


def _round(number: int, devices: int, accounts: list[str]) -> Round:
    round_ = Round(number, number * 100, Engine.STAKE)
    levels = tuple(0 if (7 * index + number) % REJECTED == 0 else 1 + index % 4 for index in range(devices))
    verdicts = tuple(Verdict.ACCEPTED if level else Verdict.OUTLIER for level in levels)
    updates = [Update(number, index, ZERO, ZERO, 100, 1000, 0) for index in range(devices)]
    round_.submissions = [Submission(index, update, accounts[0]) for index, update in enumerate(updates)]
    round_.commits = dict.fromkeys(accounts, b"")
    openings = [Opening(number, account, verdicts, ZERO, None, levels) for account in accounts]
    voters = [Voter(account, 1, None, None, index) for index, account in enumerate(accounts)]
    round_.votes = [Vote(voter, opening) for voter, opening in zip(voters, openings, strict=True)]
    round_.levels, round_.samples = levels, 270 * devices
    round_.block = Block(ZERO, number, ZERO, ZERO, ZERO, accounts[0], 10**18, 0, 2 ** len(accounts) - 1)
    round_.block_hash, round_.closed = ZERO, number * 100 + 90
    round_.transactions = {number.to_bytes(2, "big") + bytes([i]): None for i in range(20)}
    return round_


def _events(history: History) -> Iterator[Event]:
    """Yield an event for every transaction of a history."""
    for number, round_ in history.rounds.items():
        for place, name in enumerate(round_.transactions):
            args = {"round": number, "miner": next(iter(history.miners))}
            yield Event("Attested", args, 20 * number + place, number * 100 + place, name, 0, ADDRESS)


def main() -> None:
    """Print a line for each page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--browser", action="store_true")
    options = parser.parse_args()
    history = crowd(options.rounds, options.devices, 8)
    with TemporaryDirectory() as folder, _served(Path(folder), history) as (address, query):
        print(f"{options.devices:,} devices, {options.rounds} rounds")
        _first(address)
        for page in PAGES:
            _time(page, address + page[1:])
        for _ in range(3):
            query().bring()
            _time("a live update", address)
        if options.browser:
            _browse(address)


def _first(address: str) -> None:
    """Print how long the first answer takes, and until the overview is there."""
    start = time.perf_counter()
    page = urlopen(address).read()
    kind = "still reading" if READING in page else "the overview"
    print(f"{'the first answer':<16} {time.perf_counter() - start:6.2f} s  {kind}")
    while READING in urlopen(address).read():
        pass
    print(f"{'the overview':<16} {time.perf_counter() - start:6.2f} s  after the start")


def _time(name: str, address: str) -> None:
    """Print how long an answer takes, of the processor too, and its size."""
    start, cpu = time.perf_counter(), time.process_time()
    size = len(urlopen(address).read())
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    print(f"{name:<16} {seconds:6.2f} s  {cpu_seconds:6.2f} s of the processor  {size / 1e3:8.0f} kB")


@contextmanager
def _served(folder: Path, history: History) -> Iterator[tuple[str, Callable[[], Crowd]]]:
    """Yield the address of an explorer, and what it asks; it looks at the chain only when it is asked."""
    queries: list[Crowd] = []

    @contextmanager
    def opener() -> Iterator[Query]:
        queries.append(Crowd(folder, history))
        yield queries[0]

    explorer, ready = Explorer(Target(opener, 3600.0), measures=False), threading.Event()
    sock = listen("127.0.0.1", 0)
    server = ExplorerServer(explorer, sock, ready.set)
    thread = threading.Thread(target=server.serve_until_stopped)
    thread.start()
    ready.wait(30)
    try:
        yield address_of(sock), lambda: queries[0]
    finally:
        server.should_exit = True
        thread.join()


def _browse(address: str) -> None:
    """Print how long pages take until their load event, charts drawn."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.goto(address)
        for path in PAGES:
            start = time.perf_counter()
            page.goto(address + path[1:])
            page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            print(f"{path:<16} {time.perf_counter() - start:6.2f} s  in the browser")
        browser.close()


if __name__ == "__main__":
    main()
