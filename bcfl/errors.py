"""Define every error that bcfl raises on purpose: one line each that says what is wrong and what to do.

BcflError
├── ConfigError            an option, a key or a value that cannot be used
├── DataError              a data set that is absent or not what it should be
├── RunError               a run directory that is absent, damaged, busy or of another format
├── BundleError            a file that is not a bundle, or contradicts itself
├── PayloadError           bytes that are not the one canonical encoding of a vector
├── CidError               text that is not a CID of this protocol
├── StoreError             the data plane
│   ├── Unavailable        no party holds the bytes of a CID
│   │   └── Sealed         they are sealed, and no key is at hand that opens them
│   ├── Corrupt            the bytes held do not hash to their CID
│   └── Oversized          the bytes held are more than the content can have
├── ChallengeError         a challenge that does not open what it is about
├── RelayError             a message between a device and its miner that does not arrive
└── LedgerError            the control plane
    ├── Reverted           the contract refused, with its "module: reason"
    └── Unreachable        the node does not answer
        └── Unfinished     it does, and there is more to read than one turn takes
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class BcflError(Exception):
    """Root of the tree; `str(error)` is one line for the person at the terminal."""


class ConfigError(BcflError):
    """An option, a key or a value that cannot be used."""


class DataError(BcflError):
    """A data set that is absent or not what it should be."""


class RunError(BcflError):
    """A run directory that is absent, damaged, busy or of another format."""


class DiskError(RunError):
    """The disk refuses for now: it is full, or has failed. What was to be kept is not kept."""


class BundleError(BcflError):
    """A file that is not a bundle, or one that contradicts itself."""


class PayloadError(BcflError):
    """Bytes that are not the one canonical encoding of a vector of the expected layout."""


class CidError(BcflError):
    """Text that is not a CID of this protocol."""


class StoreError(BcflError):
    """The data plane could not do what was asked; `cid` names the content."""

    def __init__(self, message: str, cid: str = "") -> None:
        super().__init__(message)
        self.cid = cid


class Unavailable(StoreError):
    """No party holds the bytes of `cid`."""


class Sealed(Unavailable):
    """The bytes of `cid` are sealed, and no key that is at hand opens them."""


class Corrupt(StoreError):
    """The bytes held for `cid` do not hash to it."""


class Oversized(StoreError):
    """The bytes held for `cid` are more than the content can have."""


class ChallengeError(BcflError):
    """A challenge that does not open what it is about; the contract refuses it with the same words."""


class RelayError(BcflError):
    """A message between a device and its miner did not arrive."""


class LedgerError(BcflError):
    """The control plane could not do what was asked."""


class Reverted(LedgerError):
    """The contract refused; `module` and `reason` are the two halves of its message."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        module, _, reason = message.partition(": ")
        self.module, self.reason = (module, reason) if reason else ("", message)


class Unreachable(LedgerError):
    """The node does not answer, or answers nonsense."""


class Unfinished(Unreachable):
    """The chain is not read to its end yet: the next call goes on from where this one left it."""


class NoNodeUrl(Unreachable):
    """What should be the URL of a node is none: waiting does not help."""


@contextmanager
def own_code(text: str, kind: type[BcflError] = ConfigError) -> Iterator[None]:
    """Raise `kind`, one line of `text` and the cause, for whatever a party's own code raises inside.

    A ConfigError passes as it is, and a RunError, which is not of that code.
    """
    try:
        yield
    except (ConfigError, RunError, KeyboardInterrupt):
        raise
    except BcflError as error:
        raise kind(f"{text}: {' '.join(str(error).split())}") from error
    except BaseException as error:  # also what is no Exception: SystemExit, a CancelledError of asyncio's
        raise kind(f"{text}: {one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """Return `error` on one line: its type and the first line of its message."""
    message = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
