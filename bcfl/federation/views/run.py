"""View a run's folder: its options, and how many rounds its contract has closed."""

from __future__ import annotations

from pathlib import Path
from typing import Final, TypedDict

from bcfl.errors import BcflError
from bcfl.federation.runs import Listed
from bcfl.ledger.devnet.chainfile import last_number

ROUND_OPENED: Final = bytes.fromhex(
    "804bd947cc82587e0bfdb20388a176e98fdd868262228c0fddac3b65bb95f505"
)  # the event


class RunView(TypedDict):
    """A run; the options are None and `error` says why where its folder cannot be read."""

    run_dir: str
    created: str
    state: str
    task: str | None
    devices: int | None
    miners: int | None
    mode: str | None
    engine: str | None
    rounds: int
    rounds_wanted: int | None
    contract: str | None
    error: str | None


def run_view(run: Listed) -> RunView:
    """Return a run with the number of rounds that its contract has closed."""
    config = run.config
    rounds, error = _closed(run)
    target = None if config is None else config.rounds
    return {
        "run_dir": str(run.path),
        "created": run.created.isoformat(timespec="seconds"),
        "state": _state(run.busy, rounds, target, error),
        "task": None if config is None else config.subject,
        "devices": None if config is None else config.devices,
        "miners": None if config is None else config.miners,
        "mode": None if config is None else config.mode,
        "engine": None if config is None else config.first_engine,
        "rounds": rounds,
        "rounds_wanted": target,
        "contract": run.contract,
        "error": error,
    }


def _closed(run: Listed) -> tuple[int, str | None]:
    """Return how many rounds have ended, or why nobody can tell."""
    if run.error or run.contract is None:
        return 0, run.error
    path = run.path / "chain.sqlite"
    try:
        running = last_number(path, run.contract, ROUND_OPENED)
        if running is None:
            running = _ask(path, run.contract)
    except BcflError as error:
        return 0, str(error)
    return max(running - 1, 0), None


def _ask(path: Path, contract: str) -> int:
    """Return the number of the running round as the contract says it; raises BcflError that says why not."""
    from bcfl.ledger.artifact import federation_at
    from bcfl.ledger.devnet.embedded import EmbeddedChain

    chain = EmbeddedChain(path, read_only=True)
    try:
        return int(federation_at(chain, contract).call("round_clock")[2])
    finally:
        chain.close()


def _state(busy: bool, rounds: int, target: int | None, error: str | None) -> str:
    if error:
        return "damaged"
    if busy:
        return "running"
    return "done" if target is not None and rounds >= target else "stopped"
