"""Measure what an outsider's work costs: `python -m benchmarks.audit [--quick]`.

The audit of `bcfl run` with its defaults beside the run itself, as commands and by processor time alone.
Then a watchtower that finds one wrong lane in a model of 10,000,000 parameters from 20 updates, with its
time and the largest resident memory of its process.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bcfl.protocol import aggregation, merkle, payload
from bcfl.protocol.challenges import SumChallenge, rows_digest, weights_digest
from bcfl.protocol.fixedpoint import Lanes, lane_dtype
from bcfl.protocol.limits import USUAL_LEVEL
from bcfl.protocol.rounds import History, Member, Proposal, Round, Submission
from bcfl.protocol.submissions import Domain
from bcfl.protocol.types import (
    Block,
    Clock,
    Electorate,
    Layout,
    Opening,
    Phase,
    Terms,
    Update,
    Verdict,
    Voter,
)
from bcfl.protocol.verification import Vote
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.snapshot import RoundSnapshot
from bcfl.roles.watchtower.watchtower import Watchtower
from bcfl.storage import DirectoryStore
from benchmarks.measurement import MIB, flat_layout, peak_bytes

UPDATES = 20
SAMPLES = [100 + 7 * device for device in range(UPDATES)]
NAMES = "names.json"
SHIFT = {32: 0, 16: 10}
MINER = "0x" + "11" * 20
DOMAIN = Domain(31337, "0x" + "22" * 20)
NOBODY = "0x" + "0" * 40


def command(*arguments: str) -> tuple[float, float]:
    """Return wall and processor seconds of a `bcfl` command, start of the interpreter included."""
    earlier = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "bcfl", *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    seconds, usage = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, usage.ru_utime + usage.ru_stime - earlier.ru_utime - earlier.ru_stime


def in_process(runs: Path) -> float:
    """Return the seconds of the audit alone, once everything is loaded."""
    from bcfl.federation.audits import judge, source_of
    from bcfl.federation.query import open_run

    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        with open_run(runs=runs) as query:
            assert judge(source_of(query.contract, query.store)).passed
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def audit_table() -> None:
    """Print a default run, its audit, its bundle, and the audit of the bundle."""
    with tempfile.TemporaryDirectory() as name:
        runs, bundle = Path(name) / "runs", str(Path(name) / "run.car")
        rows = [("bcfl run", command("run", "--quiet", "--runs", str(runs)))]
        rows.append(("bcfl audit", min(command("audit", "--runs", str(runs)) for _ in range(3))))
        rows.append(("bcfl bundle", command("bundle", "--runs", str(runs), "-o", bundle)))
        rows.append(("bcfl audit BUNDLE", min(command("audit", bundle) for _ in range(3))))
        audit_seconds, size = in_process(runs), Path(bundle).stat().st_size
    (run_wall, run_cpu), (audit_wall, audit_cpu) = rows[0][1], rows[1][1]
    print("20 devices, 5 miners, 10 rounds of digits")
    print(f"{'':20}{'seconds':>9}{'processor':>11}")
    for label, (wall, processor) in rows:
        print(f"{label:20}{wall:>9.2f}{processor:>11.2f}")
    ratios = run_wall / audit_wall, run_cpu / audit_cpu
    print(f"an audit takes 1/{ratios[0]:.1f} of the run's time, 1/{ratios[1]:.1f} of its processor time;")
    print(f"without the start of Python {audit_seconds:.2f} s; the bundle has {size / MIB:.1f} MiB\n")


class Bystander:
    """The part of a ledger that a watchtower needs to judge."""

    domain = DOMAIN


def terms_of(layout: Layout, lane_bits: int) -> Terms:
    """Return the terms of one large task."""
    hour, ether = 3600, 10**18
    numbers = (layout.parameters, 24, lane_bits, SHIFT[lane_bits], 32, 0, 0, 0, 2**240, 10)
    sizes = (1, 1024, 100_000, 50_000, 20_000, 20_000, 0, hour, hour, hour, hour, hour, hour, hour, hour)
    money = (ether, 2, ether, ether, ether, 6000, 3000)
    others = (1, 5, ether // 10, hour, hour, 30 * 24 * hour, 100, 24 * hour, 2500, 0)
    return Terms(payload.layout_digest(layout), *numbers, *sizes, *money, *others)


def random_lanes(seed: int, parameters: int, lane_bits: int) -> Lanes:
    """Return lanes, (parameters,), as devices make them: small numbers around zero."""
    return np.random.default_rng(seed).integers(-30_000, 30_000, parameters, lane_dtype(lane_bits))


def prepare(folder: Path, parameters: int, lane_bits: int) -> None:
    """Store updates and a model that is wrong in its last lane, and write their names into a file."""
    layout = flat_layout(parameters)
    terms = terms_of(layout, lane_bits)
    archive = Archive(DirectoryStore(folder), layout, terms)
    parent = random_lanes(UPDATES, parameters, 32)
    lanes = [random_lanes(device, parameters, lane_bits) for device in range(UPDATES)]
    model = aggregation.apply(parent, aggregation.aggregate(0, lanes, SAMPLES, terms.shift, 0))
    model[-1] += 1
    references = [archive.put(vector) for vector in (parent, model, *lanes)]
    names = [[reference.root.hex(), reference.cid.hex()] for reference in references]
    rows = rows_digest(weights_digest(SAMPLES), merkle.rows_root(lanes, terms.leaf_lanes))
    (folder / NAMES).write_text(json.dumps([*names, [rows.hex()]]))


def context(folder: Path, terms: Terms) -> tuple[RoundSnapshot, Proposal]:
    """Return the snapshot in which the proposal stands, and the proposal, from the names on the store."""
    names = [[bytes.fromhex(part) for part in name] for name in json.loads((folder / NAMES).read_text())]
    parent, model, *updates, rows = names
    genesis = Block(bytes(32), 0, bytes(32), parent[0], parent[1], NOBODY, 0)
    submissions = [
        Submission(device, Update(1, device, root, digest, SAMPLES[device], 1000, device), MINER)
        for device, (root, digest) in enumerate(updates)
    ]
    proposal = Proposal(MINER, MINER, model[0], model[1], rows[0])
    opening = Opening(1, MINER, (Verdict.ACCEPTED,) * UPDATES, bytes(32))
    current = Round(
        1, 0, electorate=Electorate(1), submissions=submissions, votes=[Vote(Voter(MINER, 1), opening)]
    )
    current.levels, current.proposals = (USUAL_LEVEL,) * UPDATES, [proposal]
    history = History(terms.min_stake, terms.committee_size, {1: current}, [genesis])
    history.miners[MINER] = Member(MINER, 0, terms.min_stake)
    clock = Clock(Phase.ATTEST, UPDATES, 1, 0, 3600, 1, 1)
    return RoundSnapshot(clock, history, current, terms, 1), proposal


def judge_here(folder: Path, parameters: int, lane_bits: int) -> None:
    """Judge in this process and print seconds, those of the processor, and the largest resident memory."""
    layout = flat_layout(parameters)
    terms = terms_of(layout, lane_bits)
    snapshot, proposal = context(folder, terms)
    archive = Archive(DirectoryStore(folder), layout, terms)
    start, processor_start = time.perf_counter(), time.process_time()
    judgment = Watchtower(None, Bystander(), archive).judge(snapshot, proposal)  # type: ignore[arg-type]
    seconds, processor = time.perf_counter() - start, time.process_time() - processor_start
    assert isinstance(judgment.challenge, SumChallenge), judgment.reason
    assert judgment.challenge.leaf == (parameters - 1) // terms.leaf_lanes
    print(json.dumps([seconds, processor, peak_bytes()]))


def watch_table(parameters: int) -> None:
    """Print the watchtower at both lane widths."""
    print(f"A watchtower and one wrong lane among {parameters:,}, {UPDATES} updates")
    print(f"{'lanes':>6}{'seconds':>9}{'processor':>11}{'peak MiB':>10}")
    for lane_bits in (16, 32):
        with tempfile.TemporaryDirectory() as folder:
            case = [folder, str(parameters), str(lane_bits)]
            subprocess.run([sys.executable, "-m", "benchmarks.audit", "--prepare", *case], check=True)
            process = subprocess.run(
                [sys.executable, "-m", "benchmarks.audit", "--judge", *case],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            seconds, processor, peak = json.loads(process.stdout)
        print(f"{lane_bits:>6}{seconds:>9.1f}{processor:>11.1f}{peak / MIB:>10.0f}")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.audit", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--quick", action="store_true", help="measure a tenth of the parameters")
    parser.add_argument("--prepare", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--judge", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    for case, action in ((options.prepare, prepare), (options.judge, judge_here)):
        if case:
            action(Path(case[0]), int(case[1]), int(case[2]))
            return
    audit_table()
    watch_table(1_000_000 if options.quick else 10_000_000)


if __name__ == "__main__":
    main()
