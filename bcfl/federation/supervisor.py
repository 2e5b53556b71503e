"""Keep processes running together (`bcfl up`): restart those that exit, end all with their supervisor."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bcfl.errors import RunError
from bcfl.federation.stall_timeout import StallTimeout
from bcfl.folders import private_file

SET_PDEATHSIG: Final = 1  # of prctl(2)
FIRST_RETRY_SECONDS: Final = 0.5  # before a process that has exited is restarted; twice as long each time
LONGEST_RETRY_SECONDS: Final = 15.0
HEALTHY_SECONDS: Final = 30.0  # after which a process is no longer one that keeps exiting
GRACE_SECONDS: Final = 30.0  # to end before a process is killed
POLL: Final = 0.05  # seconds between two checks whether all have ended
TAIL_BYTES: Final = 2_000  # of a log that may say why a process exited
DUMP_SIGNAL: Final = signal.SIGUSR1  # asks a party to write down where it stands
DUMP_SECONDS: Final = 1.0  # to do so


@dataclass
class Child:
    """One process: what it runs, and how often it had to be restarted."""

    name: str
    command: Sequence[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    done: bool = False  # ended by itself, with success
    _start_time: float = 0.0
    _restart_time: float = 0.0
    _quick_exits: int = field(default=0)  # in a row, each soon after the start

    @property
    def pid(self) -> int | None:
        """Return the number of the process while it runs."""
        return self.process.pid if self.process is not None and self.process.poll() is None else None

    @property
    def state(self) -> str:
        """Return `running`, `done` or `waiting`."""
        if self.pid is not None:
            return "running"
        return "done" if self.done else "waiting"

    def last_line(self) -> str:
        """Return the last line of the log."""
        with suppress(OSError), self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").split("\n")
            return _message(next((line.strip() for line in reversed(lines) if line.strip()), ""))
        return ""

    def summary(self) -> str:
        """Return the state and the last line of the process."""
        times = f", restarted {self.restarts}x" if self.restarts else ""
        return f"{self.name} ({self.state}{times}): {self.last_line() or 'has said nothing'}"

    def note_exit(self, now: float) -> None:
        """Set when to restart, later each time that it has exited soon after its start."""
        self.process = None
        is_quick = now - self._start_time < HEALTHY_SECONDS
        self._quick_exits = self._quick_exits + 1 if is_quick else 0
        delay = FIRST_RETRY_SECONDS * 2.0 ** min(self._quick_exits, 10)
        self._restart_time = now + min(LONGEST_RETRY_SECONDS, delay)

    def kill_stuck(self) -> bool:
        """Kill a stuck process, which first logs where it stands; returns False if none runs."""
        process = self.process
        if process is None or process.poll() is not None:
            return False
        process.send_signal(DUMP_SIGNAL)  # kills one that has not even begun, which will do
        with suppress(subprocess.TimeoutExpired):
            process.wait(DUMP_SECONDS)
        process.kill()
        return True


class Supervisor:
    """Keep children running; leave none behind, however the supervisor ends. For one thread."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.children: list[Child] = []
        self.env = dict(env)

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def add(self, name: str, arguments: Sequence[str], log: Path) -> Child:
        """Start `bcfl` with some arguments, its output in a file; raises RunError if that is impossible."""
        child = Child(name, [sys.executable, "-m", "bcfl", *arguments], log)
        self.children.append(child)
        self._start(child)
        return child

    def restart_ended(self) -> Iterator[tuple[Child, str]]:
        """Restart children that have exited and waited long enough; yield every exit once, with a reason.

        One that the machine cannot start now, for want of processes, memory or disk, has exited too.
        """
        now = time.monotonic()
        for child in self.children:
            if child.process is None:
                if not child.done and now >= child._restart_time:
                    child.restarts += 1
                    try:
                        self._start(child)
                    except RunError as error:
                        child.note_exit(now)
                        yield child, str(error).removeprefix(f"{child.name} ")
                continue
            code = child.process.poll()
            if code is None:
                continue
            child.note_exit(now)
            child.done = code == 0
            yield child, _exit_reason(code, child)

    def stop(self) -> None:
        """End all children, the first to be started last, and wait until they are gone."""
        for group in (self.children[1:], self.children[:1]):
            running = [child.process for child in group if child.process is not None]
            for process in running:
                process.terminate()
            timeout = StallTimeout(GRACE_SECONDS)
            while any(process.poll() is None for process in running) and not timeout.is_over:
                time.sleep(POLL)
                timeout.update(0)
            for process in running:
                if process.poll() is None:
                    process.kill()
                    process.wait()
        self.children.clear()

    def _start(self, child: Child) -> None:
        child._start_time = time.monotonic()
        try:
            with private_file(child.log).open("ab") as log:
                child.process = subprocess.Popen(
                    child.command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self.env,
                    start_new_session=True,  # Ctrl-C is for the supervisor alone
                    preexec_fn=die_with(os.getpid()),
                )
        except (OSError, subprocess.SubprocessError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise RunError(f"{child.name} cannot be started: {reason}") from None


def die_with(parent: int) -> Callable[[], None] | None:
    """Return what makes a new process die with its parent, even by SIGKILL; None where nothing can."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def bind() -> None:
        prctl(SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it was gone already
            os._exit(1)

    return bind


def _message(line: str) -> str:
    """Return the message of a line of a log, which may be JSON."""
    try:
        return str(json.loads(line)["message"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return line


def _exit_reason(code: int, child: Child) -> str:
    if code == 0:
        return "has ended"
    reason = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    line = child.last_line()
    return f"{reason}: {line}" if code > 0 and line else reason
