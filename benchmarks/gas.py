"""Gas of a steady round, call by call and per participant, of what happens seldom, and of the largest calls.

    python -m benchmarks.gas            print the tables, with the goals of the protocol
    python -m benchmarks.gas --write    also write benchmarks/gas_snapshot.json, which a test compares

One miner, the batcher, hands in all openings together, as the roles do. All transactions count.
"""

from __future__ import annotations

import argparse
import json

from testkit.gas import LARGEST, SIZES, SNAPSHOT, measure, table


def main() -> None:
    """Print the tables and write the snapshot if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="write the snapshot too")
    write = parser.parse_args().write
    rows = measure()
    for size in SIZES:
        print(table(size, rows[str(size)]), end="\n\n")
    print("once or seldom (20 devices, 5 miners)")
    for step, gas in (rows["rare"] | rows["dispute"]).items():
        print(f"  {step:<32}{gas:>12,}")
    print("\nthe largest calls")
    for name in LARGEST:
        print("".join(f"  {f'{name}: {call}':<68}{gas:>12,}\n" for call, gas in rows[name].items()), end="")
    if write:
        SNAPSHOT.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
