"""Count what updates have told of somebody's data, on disk beside it, and refuse what goes beyond a budget.

The file stays with the data: it counts across restarts, and across all federations that learn from them. An
update is counted before anybody hears of it, once, under contract, round and root; an equal one tells nothing
new. A file that is damaged is never begun anew: what it said cannot be known any more.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from bcfl.errors import BcflError, ConfigError
from bcfl.federation.accountant import Spent, total
from bcfl.folders import PASSING, disk_error, sync_folder
from bcfl.protocol.noise import SAMPLE, Budget, Noise, Release

FILE: Final = ".bcfl-budget"  # in a folder of data
VERSION: Final = 1
SEAL: Final = b"\nsha256:"
MAX_BYTES: Final = 2**24
LOCK_SECONDS: Final = 10.0
KEY: Final = re.compile(r"[0-9a-f]{64}/[1-9]\d{0,9}/[0-9a-f]{64}", re.ASCII)
RATIO: Final = re.compile(r"[1-9]\d{0,15}(?:/[1-9]\d{0,15})?", re.ASCII)
MOST_STEPS: Final = 10**12
MENDED: Final = PASSING - {errno.ENOLCK}  # a drive without locks has none later either
Releases = dict[tuple[str, Release], None]  # by update, in their order


@dataclass(frozen=True)
class BudgetLedger:
    """The file of what was told of some data; implements `bcfl.ports.Allowance`.

    Every method raises DiskError where the disk is full or fails: nothing is counted, and another try may do.

    `budget` None: everything is counted and nothing is refused. What this process has seen stays counted,
    where the file is lost or an older one is put in its place while it runs.
    """

    path: Path
    budget: Budget | None = None
    _seen: Releases = field(default_factory=dict, repr=False, compare=False)

    def require(self, release: Release) -> None:
        """Raise ConfigError where one release more goes beyond the budget, or the file cannot be read."""
        self._check(self._releases(), release)

    def spend(self, key: str, release: Release) -> None:
        """Count a release under its key, once; it is on disk on return. Raises ConfigError as `require`."""
        with self._locked():
            kept = self._read()
            releases = kept | self._seen
            if (key, release) not in releases:
                self._check(releases, release)
                releases[key, release] = None
            if releases != kept:
                self._write(releases)
            self._settle()
            self._seen.update(releases)

    def begin(self) -> None:
        """Raise ConfigError, before anything is trained, where the file cannot be read or written."""
        with self._locked():
            self._releases()

    def spent(self) -> Spent:
        """Return what all releases have told together; raises ConfigError for a damaged file."""
        return total(release for _, release in self._releases())

    def _releases(self) -> Releases:
        """Return what the file says, and what it said before; raises ConfigError as `_read`."""
        releases = self._read() | self._seen
        self._seen.update(releases)
        return releases

    def _check(self, releases: Releases, release: Release) -> None:
        if release.steps > MOST_STEPS:  # else nobody could read the file any more
            raise ConfigError(
                f"an update of {release.steps:,} steps is more than {MOST_STEPS:,}, and not counted"
            )
        if self.budget is None:
            return
        delta, allowed = float(self.budget.delta), float(self.budget.epsilon)
        before = total(each for _, each in releases)
        after = (before + release).epsilon(delta)
        if not after <= allowed:
            raise ConfigError(
                f"this update would bring what is told of the data to epsilon {after:.3g} from "
                f"{before.epsilon(delta):.3g}, and their owner allows {self.budget.epsilon} (delta "
                f"{self.budget.delta}; {self.path}): raise --budget, or let the device rest"
            )

    def _read(self) -> Releases:
        """Return what the file says; raises ConfigError for anything that this class has not written."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise self._damaged()
                content = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return {}
        except OSError as error:
            text = f"cannot read the budget's file {self.path}"
            if error.errno in MENDED:
                raise disk_error(text, error) from None
            raise ConfigError(
                f"{text}: {error.strerror}; what it says is not known, and another one (--budget-file) would "
                "begin at nothing"
            ) from None
        data, seal, digest = content.rpartition(SEAL)
        if len(content) > MAX_BYTES or not seal or digest != sha256(data).hexdigest().encode():
            raise self._damaged()
        try:
            return _parse(json.loads(data))
        except (ValueError, TypeError, KeyError, RecursionError):
            raise self._damaged() from None

    def _damaged(self) -> ConfigError:
        return ConfigError(
            f"the budget's file {self.path} is damaged, and nobody can say what was told of the data: put a "
            "copy of it back; remove it only if no update of this data was ever given away"
        )

    def _write(self, releases: Releases) -> None:
        entries = [
            {"update": key, "noise": str(each.noise), "rate": str(each.rate), "steps": each.steps}
            for key, each in releases
        ]
        data = json.dumps({"version": VERSION, "releases": entries}, sort_keys=True).encode()
        if len(data) > MAX_BYTES // 2:
            raise ConfigError(f"the budget's file {self.path} is full: let the device rest")
        temporary = self.path.with_name(self.path.name + ".new")
        try:
            with suppress(FileNotFoundError):
                temporary.unlink()
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data + SEAL + sha256(data).hexdigest().encode())
                file.flush()
                os.fsync(descriptor)
            temporary.replace(self.path)
        except OSError as error:
            raise self._unwritable(error) from None

    def _settle(self) -> None:
        """Let what is written survive a power cut, also what a process wrote that met an error then."""
        try:
            sync_folder(self.path.parent)
        except OSError as error:
            raise self._unwritable(error) from None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock beside the file: processes with the same data take turns. Raises ConfigError."""
        lock = self.path.with_name(self.path.name + ".lock")
        try:  # a folder that is gone was renamed, or its drive is away: what it said must not be begun anew
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unwritable(error) from None
        try:
            deadline = time.monotonic() + LOCK_SECONDS
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise ConfigError(f"another process has held {lock} for long: end it") from None
                    time.sleep(0.02)
                except OSError as error:  # a drive without locks
                    raise self._unwritable(error) from None
            yield
        finally:
            os.close(descriptor)

    def _unwritable(self, error: OSError) -> BcflError:
        """Return a DiskError where another try can be better, else a ConfigError."""
        if isinstance(error, FileNotFoundError):
            return ConfigError(
                f"the folder of the budget's file {self.path} is not there: put it back, or mount its drive"
            )
        text = f"cannot write the budget's file {self.path}"
        if error.errno in MENDED:
            return disk_error(text, error)
        return ConfigError(f"{text}: {error.strerror}; name another with --budget-file")


def _parse(content: Any) -> Releases:
    """Return the releases in the content of a file; raises ValueError, TypeError or KeyError."""
    if set(content) != {"version", "releases"} or content["version"] != VERSION:
        raise ValueError("version")
    releases: Releases = {}
    for entry in content["releases"]:
        if set(entry) != {"update", "noise", "rate", "steps"} or not KEY.fullmatch(entry["update"]):
            raise ValueError("entry")
        noise, rate, steps = _ratio(entry, "noise"), _ratio(entry, "rate"), entry["steps"]
        if rate > 1 or type(steps) is not int or not 0 < steps <= MOST_STEPS:
            raise ValueError("numbers")
        releases[entry["update"], Release(noise, rate, steps)] = None
    if len(releases) != len(content["releases"]):
        raise ValueError("twice")
    return releases


def _ratio(entry: Mapping[str, str], name: str) -> Fraction:
    if not RATIO.fullmatch(entry[name]):
        raise ValueError(name)
    return Fraction(entry[name])


def promise(noise: Noise, samples: int, ledger: BudgetLedger | None) -> str:
    """Say what an update of so many samples tells by the terms, and what bounds all updates together."""
    budget = None if ledger is None else ledger.budget
    delta = noise.delta if budget is None else budget.delta
    one = total([noise.release(samples)]).epsilon(float(delta))
    words = f"{noise.text}: an update tells epsilon {one:.3g} of the data"
    if noise.level == SAMPLE and samples * float(delta) > 1:
        words += f" (a delta above 1 / {samples:,} lets it tell any one sample whole)"
    if ledger is not None:
        words += f", those before it told {ledger.spent().epsilon(float(delta)):.3g} together"
    bound = "nothing bounds the sum: see --budget" if budget is None else f"{budget.epsilon} is allowed"
    return f"{words} (delta {delta}); {bound}"


def ledger_of(
    noise: bool, data: Path | None, budget: Budget | None, file: Path | None, name: str
) -> BudgetLedger | None:
    """Return where a device of a federation of that name counts; None where it has no noise and no budget.

    It is `file`, or a file in the folder of the data. Raises ConfigError where a budget means nothing, and
    DiskError where the disk is full or fails.
    """
    if not noise:
        if budget is not None or file is not None:
            raise ConfigError(
                f"{name} adds no noise, and an update without noise tells more than any budget allows: leave "
                "--budget out, or join a federation that was deployed with --dp"
            )
        return None
    if file is None and data is None:
        if budget is not None:
            raise ConfigError("--budget counts in the folder --data: name that, or a file with --budget-file")
        return None
    path = (file if file is not None else (data or Path()) / FILE).absolute()
    ledger = BudgetLedger(path, budget)
    if file is not None:  # a folder of data is there, or was misspelt
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if error.errno in MENDED:
                raise disk_error(f"cannot make the folder of the budget's file {path}", error) from None
            # of all others `begin` says what is wrong
    ledger.begin()
    return ledger
