"""Plant every fault in turn and play until the simulation finds it: `python -m tests.simulation --plants`."""

from __future__ import annotations

import argparse
import time
from typing import Any

from tests.simulation import campaign
from tests.simulation.chains import CHAINS
from tests.simulation.episode import STORMY_ROUNDS, play
from tests.simulation.faults import Weather
from tests.simulation.plants import PLANTS, Plant, planted


def find(
    plant: Plant, first: int, rounds: int, seconds: float, chain: str, factor: float = 1.0
) -> dict[str, Any]:
    """Play seeds with a fault planted until a rule is broken; return after how many rounds, and which."""
    count, seed, end = 0, first, time.process_time() + seconds
    begin = time.process_time()
    with planted(plant):
        while count < rounds and time.process_time() < end:
            outcome = play(seed, kind=CHAINS[chain](), rounds=STORMY_ROUNDS, weather=Weather(factor))
            count += outcome.rounds
            if outcome.violations:
                violation = outcome.violations[0]
                return {
                    "plant": plant.name, "found": True, "rounds": count, "seed": seed, "rule": violation.rule,
                    "text": violation.text, "seconds": round(time.process_time() - begin, 1),
                }  # fmt: skip
            seed += 1
    return {
        "plant": plant.name, "found": False, "rounds": count, "seed": seed, "rule": "", "text": "",
        "seconds": round(time.process_time() - begin, 1),
    }  # fmt: skip


def hunt(options: argparse.Namespace) -> int:
    """Find the planted faults that have no line in the file; print all, and return 1 if one was not found."""
    path = options.file.with_name("plants.jsonl")
    chosen = [plant for plant in PLANTS if not options.plant or plant.name in options.plant]
    lines = {} if options.plant else {line["plant"]: line for line in campaign.read(path)}
    for plant in chosen:
        if plant.name not in lines:
            line = find(plant, options.first, options.rounds, options.seconds, options.chain, options.factor)
            line["commit"] = campaign.commit()
            campaign.write(path, line)
            lines[plant.name] = line
        print(row(lines[plant.name]), flush=True)
    found = sum(lines[plant.name]["found"] for plant in chosen)
    print(f"{found} of {len(chosen)} planted faults were found")
    return int(found < len(chosen))


def row(line: dict[str, Any]) -> str:
    """Return the line of the table for a planted fault."""
    verdict = f"{line['rule']}: {line['text']}" if line["found"] else "not found"
    return f"{line['plant']:42} {line['rounds']:6} rounds  {verdict[:110]}"
