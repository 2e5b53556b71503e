"""Run one trial of a sweep in a process of its own: `python -m bcfl.federation.trial FOLDER`.

The folder holds `trial.json`, the options. The run goes into its folder `run`, what came of it to
`result.json` or, in one line, to `error.txt`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Final

from bcfl.config import Config
from bcfl.errors import BcflError
from bcfl.federation.outcome import averageable, read_outcome
from bcfl.federation.runs import FILE, Run
from bcfl.pages.texts import json_text

OPTIONS: Final = "trial.json"
RESULT: Final = "result.json"
ERROR: Final = "error.txt"
FAILED: Final = 2  # exit code


def main(folder: Path) -> int:
    """Run, or go on with, the trial in a folder; return the exit code."""
    options: dict[str, Any] = json.loads((folder / OPTIONS).read_text(encoding="utf-8"))
    (folder / ERROR).unlink(missing_ok=True)
    try:
        report = averageable(_play(options, folder / "run"))
        replace_file(folder / RESULT, json_text(report, indent=1))
        read_outcome(folder / RESULT)  # what no sweep could sum up is told now
    except (BcflError, OSError) as error:
        replace_file(folder / ERROR, " ".join(str(error).split()) + "\n")
        return FAILED
    return 0


def replace_file(path: Path, text: str) -> None:
    """Write a file as a whole, or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _play(options: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the report of a run; one that has begun goes on where its chain stands."""
    from bcfl.federation import simulation

    if (path / FILE).exists() and Run.open(path, read_only=True).contract is not None:
        return simulation.resume(path).to_dict()
    shutil.rmtree(path, ignore_errors=True)  # it had not come to a contract yet
    return simulation.run(Config(**options, run_dir=path)).to_dict()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
