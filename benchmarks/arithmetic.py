"""Compare the challenge's arithmetic with its Python twin on random cases at and around every boundary.

    python -m benchmarks.arithmetic --cases 5000000 --seed 1 --jobs 2

A case is one lane of a row with the right new value, a wrong one or wrong bounds. The first ruling that is
not the twin's ends the run with exit code 1. On anvil, where it is installed (on the PATH or by npm), else on
the embedded chain, which is a hundred times slower. The cases follow from the seed, not from `--jobs`.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import product
from pathlib import Path

from bcfl.errors import Unreachable
from bcfl.ledger.chain import Chain
from bcfl.ledger.devnet.anvil import find_anvil
from bcfl.ledger.devnet.embedded import EmbeddedChain
from bcfl.ledger.rpc import RpcChain
from bcfl.protocol.types import Rule
from testkit.arithmetic import WIDTHS, Count
from testkit.arithmetic_mock import compare
from testkit.harness import ETHER, Account, account

START_SECONDS = 30
NODES = Path(__file__).parents[1] / "tests" / "nodes" / "node_modules" / ".bin"  # where tests find theirs
COLUMNS = {
    "cases": "cases",
    "right": "right, stands",
    "wrong": "wrong, refuted",
    "refused": "bounds refused",
    "halves": "at a half",
    "ends": "sum at an end",
    "saturated": "saturated",
    "updates": "most updates",
}


@contextmanager
def anvil(binary: str, owner: Account) -> Iterator[Chain]:
    """Run a node of its own, on which `owner` has ether."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([binary, "--port", str(port), "--silent"])
    try:
        chain = connect(f"http://127.0.0.1:{port}")
        chain.request("anvil_setBalance", owner.address, hex(10**6 * ETHER))
        yield chain
        chain.close()
    finally:
        process.kill()
        process.wait()


def connect(url: str) -> RpcChain:
    """Wait for a node that starts."""
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            return RpcChain(url, timeout=300, poll=0.002)
        except Unreachable:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


@contextmanager
def chain_of(owner: Account) -> Iterator[Chain]:
    """Start anvil, where it is installed, else the embedded chain."""
    if (binary := find_anvil()) is not None:
        with anvil(binary, owner) as chain:
            yield chain
        return
    embedded = EmbeddedChain(None, accounts=[owner.address])
    yield embedded
    embedded.close()


def play(rule: Rule, lane_bits: int, cases: int, seed: int) -> Count:
    """Compare the cases of a rule and a width on a chain of their own."""
    owner = account("owner")
    with chain_of(owner) as chain:
        return compare(chain, owner, rule, lane_bits, cases, seed)


def line(name: str, count: Count) -> str:
    """Format one line of the table."""
    return f"{name:<22}" + "".join(f"{getattr(count, column):>16,}" for column in COLUMNS)


def main() -> int:
    """Play the cases and print what was tried."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.arithmetic", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--cases", type=int, default=100_000, help="how many, at least (default 100,000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="processes, each with a chain of its own")
    options = parser.parse_args()
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), str(NODES)])
    print(f"on {'the embedded chain' if find_anvil() is None else 'anvil'}")
    print(f"{'':<22}" + "".join(f"{head:>16}" for head in COLUMNS.values()), flush=True)
    cells, total, start = list(product(Rule, WIDTHS)), Count(), time.monotonic()
    part = -(-options.cases // len(cells))
    with ProcessPoolExecutor(options.jobs) as pool:
        jobs = [pool.submit(play, rule, lane_bits, part, options.seed) for rule, lane_bits in cells]
        for (rule, lane_bits), job in zip(cells, jobs, strict=True):
            try:
                count = job.result()
            except (Exception, SystemExit) as error:
                print(error, file=sys.stderr, flush=True)  # the other processes end their part first
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            total.merge(count)
            print(line(f"{rule.name.lower()}, {lane_bits} bits", count), flush=True)
    print(line("all", total))
    print(f"every ruling is the twin's; seed {options.seed}; {time.monotonic() - start:,.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
