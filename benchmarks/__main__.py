"""Run the benchmarks behind docs/figures.md, one after the other: `python -m benchmarks`."""

from __future__ import annotations

import subprocess
import sys

ALL = ("run", "modes", "gas", "core", "ledger", "fedavg", "leads", "committees", "absence", "verify", "audit")


def main() -> int:
    """Run them all; the first failure ends it."""
    for name in ALL:
        print(f"\n== benchmarks.{name}\n", flush=True)
        code = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
