"""Keep a run in a folder: its chain, its store, its journals and its options.

    run.json     format, options, the contract's address
    learning.json what stands for data, model and the options of the task
    run.lock     who writes to the run; held until that process ends, however it ends
    chain.sqlite the chain
    store/       the contents of the store
    journal/     what the roles must not forget
    noise.secret what the noise of `--dp` is drawn from
    budgets/     what each device has told of its data, with `--budget`

Nothing else is in `run.json`: whatever a round brought is on the chain and in the store.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import Final, Self

from bcfl.config import Config
from bcfl.config.sources import with_new_names
from bcfl.errors import ConfigError, RunError
from bcfl.folders import private_file, read_file, write_whole

FORMAT: Final = 1
FILE: Final = "run.json"
LOCK: Final = "run.lock"
PUBLIC_MODE: Final = 0o755  # of a run's folder: its store is for everybody to read, the rest is not
PATHS: Final = ("data", "flower", "weights")  # options that name what a run reads
KEYS: Final = {"format", "created", "config", "contract"}
STAMP: Final = "%Y%m%d-%H%M%S"
ADDRESS: Final = re.compile("0x[0-9a-fA-F]{40}")
LOCK_SECONDS: Final = 0.2  # to wait: a process that asks if a run is busy holds its lock for an instant
MAX_BYTES: Final = 2**20  # of run.json
DEEPEST: Final = 100  # brackets; many more exhaust the stack where py-evm has lifted the limit
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Run:
    """One run's folder, open for writing (by one process at a time) or for reading.

    Made by `create` or `open`; a context manager that gives the lock back.
    """

    def __init__(
        self, path: Path, config: Config, created: datetime, contract: str | None, lock: int | None
    ) -> None:
        self.path, self.created, self._lock = path, created, lock
        self._config, self._contract = config, contract

    @classmethod
    def create(cls, config: Config, now: datetime | None = None, suffix: str | None = None) -> Self:
        """Create a new run of `config`, in `config.run_dir` or a folder of its own under `config.runs`.

        `now` (the clock's, UTC) and `suffix` (random) name that folder. Raises RunError when the folder holds
        something already or cannot be written; then nothing new is left behind.
        """
        created = datetime.now(UTC) if now is None else now
        path = config.run_dir or new_path(config.runs, created, suffix)
        is_new = _make(path)
        lock = _take(path)
        run = cls(path, _absolute(config), created, None, lock)
        try:
            _check_free(path)  # another may have made it before the lock was free
        except BaseException:
            run.close()
            raise
        try:
            run._write()
        except BaseException:
            run.close()
            _remove(path, is_new)
            raise
        return run

    @classmethod
    def open(cls, path: Path | None, runs: Path = Path("runs"), read_only: bool = False) -> Self:
        """Open the run in the folder `path`, the latest in the folder `runs` when None.

        Raises RunError when there is none, it is damaged, of another format, or, unless `read_only`,
        another process is writing to it.
        """
        folder = latest(runs) if path is None else path
        if not (folder / FILE).exists():
            raise RunError(f"{folder} is not the directory of a run: no {FILE}; `bcfl ls` lists the runs")
        lock = None if read_only else _take(folder)
        try:
            return cls(folder, *_read(folder), lock)
        except BaseException:
            if lock is not None:
                os.close(lock)
            raise

    @property
    def config(self) -> Config:
        """Return the options of the run; `run_dir` is where the run is now."""
        return self._config.model_copy(update={"run_dir": self.path})

    @property
    def contract(self) -> str | None:
        """Return the address of the contract, None until it is deployed."""
        return self._contract

    @property
    def chain_path(self) -> Path:
        """Return the file of the embedded chain."""
        return self.path / "chain.sqlite"

    @property
    def store_path(self) -> Path:
        """Return the folder of the store."""
        return self.path / "store"

    @property
    def journal_path(self) -> Path:
        """Return the folder of the journals."""
        return self.path / "journal"

    def set_contract(self, address: str) -> None:
        """Record where the contract is; raises RunError, with nothing lost, when that cannot be written."""
        old_contract, self._contract = self._contract, address
        try:
            self._write()
        except BaseException:
            self._contract = old_contract
            raise

    def set_rounds(self, rounds: int) -> None:
        """Let the run have `rounds` rounds in all; raises ConfigError or RunError, with nothing changed."""
        old_config = self._config
        self._config = Config(**old_config.model_dump() | {"rounds": rounds})
        try:
            self._write()
        except BaseException:
            self._config = old_config
            raise

    def close(self) -> None:
        """Let others write to the run."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self) -> None:
        """Replace run.json as a whole, on disk when this returns."""
        content = {
            "format": FORMAT,
            "created": self.created.isoformat(timespec="seconds"),
            "config": self._config.model_dump(mode="json", exclude={"runs", "run_dir"}),
            "contract": self._contract,
        }
        try:
            write_whole(self.path / FILE, (json.dumps(content, indent=1) + "\n").encode())
        except OSError as error:
            raise RunError(f"{self.path / FILE} cannot be written: {_why(error)}") from error


@dataclass(frozen=True)
class Listed:
    """One folder of the runs: what its run.json says, or why it cannot be read."""

    path: Path
    created: datetime
    config: Config | None
    contract: str | None
    busy: bool  # a process is writing to it
    error: str | None


def list_runs(runs: Path) -> list[Listed]:
    """Return the runs in the folder `runs`, the oldest first; none where there is no such folder."""
    try:
        paths = [path for path in runs.iterdir() if (path / FILE).exists()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"{runs} cannot be read: {_why(error)}; name another folder with --runs") from error
    return sorted((_listed(path) for path in paths), key=lambda run: (run.created, run.path.name))


def latest(runs: Path) -> Path:
    """Return the folder of the run that began last; raises RunError when there is none."""
    entries = list_runs(runs)
    if not entries:
        raise RunError(
            f"there is no run in {runs} yet: start one with `bcfl run`, or name another with --runs"
        )
    return entries[-1].path


def find_run(path: Path | None, runs: Path) -> Path | None:
    """Return the folder of the run that `path` names, also by its name in `runs`; None means the latest."""
    if path is None or (path / FILE).exists():
        return path
    by_name = runs / path
    return by_name if (by_name / FILE).exists() else path


def new_path(runs: Path, now: datetime, suffix: str | None = None) -> Path:
    """Return the folder of a new run: by UTC time, and something random for two in the same second."""
    return runs / f"{now.astimezone(UTC):{STAMP}}-{suffix or secrets.token_hex(2)}"


def _absolute(config: Config) -> Config:
    """Return the options such that they mean the same wherever the run is resumed from."""
    paths: dict[str, Path | None] = {name: getattr(config, name) for name in PATHS}
    update = {name: path.absolute() for name, path in paths.items() if path is not None}
    return config.model_copy(update=update)


def _make(path: Path) -> bool:
    """Make the folder of a new run; return whether it was absent. Raises RunError when it is of no use."""
    try:
        _check_free(path)
        absent = not path.exists()
        path.mkdir(PUBLIC_MODE, parents=True, exist_ok=True)
        if not absent and any(not _is_unfinished(file.name) for file in path.iterdir()):
            raise RunError(f"{path} is not empty: name a new folder for the run")
    except OSError as error:
        raise RunError(f"{path} cannot be the folder of a run: {_why(error)}") from error
    return absent


def _check_free(path: Path) -> None:
    """Raise RunError where a folder holds a run."""
    if (path / FILE).exists():
        raise RunError(
            f"{path} holds a run: go on with `bcfl run --resume {quote(str(path))}`, or name another folder"
        )


def _is_unfinished(name: str) -> bool:
    """Return whether a file can be of a run that was killed before it had its run.json."""
    return name == LOCK or name.startswith(f".{FILE}.")


def _remove(path: Path, is_new: bool) -> None:
    """Take back what `create` left of a run that did not come to be."""
    with suppress(OSError):
        (path / LOCK).unlink()
        if is_new:
            path.rmdir()


def _take(path: Path) -> int:
    """Take the right to write to a run, until it is closed or the process ends; raises RunError."""
    try:
        lock = os.open(private_file(path / LOCK), os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {_why(error)}") from error
    if not _locked(lock, fcntl.LOCK_EX, LOCK_SECONDS):
        writer = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(lock)
        raise RunError(f"{path} is busy: process {writer} is writing to it; wait for it to end, or end it")
    with suppress(OSError):  # the number is a courtesy; a full disk must not stop a run that may go on
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _locked(lock: int, kind: int, seconds: float = 0.0) -> bool:
    """Lock an open file, within so many seconds; return whether that was possible."""
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.01)
        else:
            return True


def _busy(path: Path) -> bool:
    """Return whether a process is writing to the run."""
    try:
        lock = os.open(path / LOCK, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _locked(lock, fcntl.LOCK_SH)
    finally:
        os.close(lock)


def _listed(path: Path) -> Listed:
    try:
        config, created, contract = _read(path)
    except RunError as error:
        time_ = datetime.fromtimestamp((path / FILE).stat().st_mtime, UTC)
        return Listed(path, time_, None, None, _busy(path), str(error))
    return Listed(path, created, config, contract, _busy(path), None)


def _read(path: Path) -> tuple[Config, datetime, str | None]:
    """Read options, time of creation and contract; raises RunError for any other run.json."""
    try:
        text = read_file(path / FILE, MAX_BYTES)
        content = json.loads(text) if text.count(b"[") + text.count(b"{") < DEEPEST else None
    except OSError as error:
        raise RunError(f"{path / FILE} cannot be read: {_why(error)}") from error
    except ValueError:
        raise _damaged(path, "it is not JSON") from None
    if not isinstance(content, dict) or type(content.get("format")) is not int:
        raise _damaged(path, "it does not say its format")
    if content["format"] != FORMAT:
        words = f"is a run of format {content['format']}, this bcfl reads format {FORMAT}"
        raise RunError(f"{path} {words}: use the version of bcfl that wrote it")
    if set(content) != KEYS:
        raise _damaged(path, f"its keys are not {', '.join(sorted(KEYS))}")
    return (
        _config(path, content["config"]),
        _created(path, content["created"]),
        _address(path, content["contract"]),
    )


def _config(path: Path, options: object) -> Config:
    if not isinstance(options, dict):
        raise _damaged(path, "config is not an object")
    options = with_new_names(options)
    missing = set(Config.model_fields) - {"runs", "run_dir"} - set(options)
    if missing:
        raise _damaged(path, f"config lacks {min(missing)}")
    try:
        return Config(**options)
    except ConfigError as error:
        raise _damaged(path, str(error)) from None


def _created(path: Path, text: object) -> datetime:
    with suppress(ValueError, TypeError):
        time_ = datetime.fromisoformat(text)  # type: ignore[arg-type]
        if time_.tzinfo is not None:
            return time_
    raise _damaged(path, "created is not a time")


def _address(path: Path, address: object) -> str | None:
    if address is None or (isinstance(address, str) and ADDRESS.fullmatch(address)):
        return address
    raise _damaged(path, "contract is not an address")


def _damaged(path: Path, reason: str) -> RunError:
    return RunError(f"{path / FILE} is damaged ({reason}): put it back from a copy, or start a new run")


def _why(error: OSError) -> str:
    reason = error.strerror or type(error).__name__
    return f"{reason}; free some space and try again" if error.errno in FULL else reason
