"""Time what a party does with the events of one more round, as its federation grows old.

    python -m benchmarks.history                      100,000 rounds
    python -m benchmarks.history --rounds 10000

The events of a real round of the specification, repeated under later numbers, are added to a history.
After each part: the processor time that a round takes, that of what roles ask of the history in every
turn, that of a device that looks for what it has earned lately; and the memory of the process.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from bcfl.ledger.contract import Event
from bcfl.protocol.events import take_in
from bcfl.protocol.hashing import keccak
from bcfl.protocol.rounds import History
from bcfl.roles.background.claims import claims
from testkit.harness import Federation
from testkit.ledgers import SPECIFICATION

PARTS = 5
TURNS = 150  # of a party in a round
PLAYED = 3  # rounds, of which the last is repeated


def main() -> None:
    """Print a line for each part."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=100_000, help="how many (default 100,000)")
    options = parser.parse_args()
    federation = Federation(devices=4, miners=3, kind=SPECIFICATION).open()
    for _ in range(PLAYED):
        federation.finish()
    events = list(federation.contract.events())
    history = take_in(History.under(federation.terms), events)
    pattern = _of_round(events, PLAYED)
    print(f"{'rounds':>8}  {'events':>7}  {'turns':>7}  {'claims':>7}  {'memory':>7}")
    size, part = options.rounds, max(1, options.rounds // PARTS)
    while history.number < size:
        first = history.number
        start = time.process_time()
        for number in range(first + 1, min(first + part, size) + 1):
            take_in(history, _again(pattern, number))
        per_round = (time.process_time() - start) / (history.number - first)
        turn, claim = _turns(history), _claims(federation, history)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        times = "  ".join(f"{1e3 * seconds:>4.2f} ms" for seconds in (per_round, turn, claim))
        print(f"{history.number:>8,}  {times}  {memory:>4,.0f} MB", flush=True)


def _of_round(events: list[Event], number: int) -> list[Event]:
    """Return the events from the opening of a round to that of the next one."""
    places = [place for place, event in enumerate(events) if event.name == "RoundOpened"]
    first, last = places[number - 1], places[number]
    return [event for event in events[first:last] if event.name != "Claimed"]


def _again(pattern: list[Event], number: int) -> Iterator[Event]:
    """Yield the events of a round under another number, an hour later for each."""
    for place, event in enumerate(pattern):
        args: dict[str, Any] = {**event.args}
        if "round" in args:
            args["round"] = number
        if "roots" in args:
            args["roots"] = tuple(keccak(root + number.to_bytes(4, "big")) for root in args["roots"])
        name = number.to_bytes(4, "big") + place.to_bytes(28, "big")
        yield replace(
            event, args=args, block=100 * number + place, timestamp=3_600 * number + place, transaction=name
        )


def _turns(history: History) -> float:
    """Return the seconds of what a party asks of a history in all turns of a round."""
    start = time.process_time()
    for _ in range(TURNS):
        current = history.current
        assert current is not None
        history.model_before(current.number)
        history.binding(0)
        history.takes_part(0)
        history.numbers_before(current.number, 32)
    return time.process_time() - start


def _claims(federation: Federation, history: History) -> float:
    """Return the seconds in which a device finds what it has earned in its last rounds."""
    start = time.process_time()
    rounds = range(history.number - 8, history.number)
    list(claims(history, federation.ledger.domain, federation.device_keys[0].address, rounds))
    return time.process_time() - start


if __name__ == "__main__":
    main()
