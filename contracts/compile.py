"""Compile the contracts into the artifact that the package ships, or check that it is current.

python contracts/compile.py            write bcfl/ledger/artifacts/Federation.json
python contracts/compile.py --check    fail if the sources compile to something else
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CONTRACTS = ROOT / "contracts"
ARTIFACT = ROOT / "bcfl" / "ledger" / "artifacts" / "Federation.json"
DEPLOYABLES = ("Federation", "SettlementFacet", "ChallengeFacet", "DisputeFacet", "MembershipFacet")
ROOM = 1_500  # bytes that a facet stays below the limit
MAX_RUNTIME = 24_576 - ROOM  # EIP-170


def sources() -> list[Path]:
    """Return all sources that the deployables are made of."""
    return sorted(
        [*CONTRACTS.glob("*.vy"), *CONTRACTS.glob("modules/*.vy"), *CONTRACTS.glob("interfaces/*.vyi")]
    )


def compile_one(name: str) -> dict[str, Any]:
    """Compile one deployable; returns its ABI, bytecode and layout."""
    from vyper.cli.vyper_compile import compile_files

    path = CONTRACTS / f"{name}.vy"
    formats = ["abi", "bytecode", "bytecode_runtime", "layout"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outputs = compile_files([path], formats, paths=[str(CONTRACTS)])
    return dict(next(iter(outputs.values())))


def immutable_bytes(layout: dict[str, Any]) -> int:
    """Return how many bytes the constructor puts behind the code: they count for EIP-170 as well."""
    if "length" in layout:
        return int(layout["length"])
    return sum(immutable_bytes(part) for part in layout.values())


def merge_abis(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Merge the ABIs for the one address: the constructor and the fallback are the first deployable's."""
    entries: list[dict[str, Any]] = []
    for position, output in enumerate(outputs):
        for entry in output["abi"]:
            is_private = entry["type"] in {"constructor", "fallback"} and position > 0
            if not is_private and entry not in entries:
                entries.append(entry)
    return entries


def constructor(output: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the ABI of one deployable's constructor alone."""
    return [entry for entry in output["abi"] if entry["type"] == "constructor"]


def build() -> dict[str, Any]:
    """Compile the artifact; raises SystemExit where a deployable is too large or the layouts differ."""
    with ProcessPoolExecutor() as pool:
        return assemble(list(pool.map(compile_one, DEPLOYABLES)))


def assemble(outputs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the artifact of the deployables' outputs, in their order; raises what `build` does."""
    import vyper

    sizes = {}
    for name, output in zip(DEPLOYABLES, outputs, strict=True):
        sizes[name] = (
            len(output["bytecode_runtime"]) // 2 - 1 + immutable_bytes(output["layout"]["code_layout"])
        )
        if sizes[name] > MAX_RUNTIME:
            raise SystemExit(
                f"{name} is {sizes[name]} bytes, more than {MAX_RUNTIME}: {ROOM} below what EIP-170 allows"
            )
    layouts = [output["layout"]["storage_layout"] for output in outputs]
    if any(layout != layouts[0] for layout in layouts):
        raise SystemExit(
            f"{', '.join(DEPLOYABLES)} differ in their storage layout; initialize the same modules in order"
        )
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources())).hexdigest()
    return {
        "compiler": vyper.__version__,
        "sources_sha256": digest,
        "runtime_bytes": sizes,
        "abi": merge_abis(outputs),
        "constructors": {
            name: constructor(output) for name, output in zip(DEPLOYABLES, outputs, strict=True)
        },
        "bytecode": {name: output["bytecode"] for name, output in zip(DEPLOYABLES, outputs, strict=True)},
    }


def main() -> None:
    """Write or check the artifact."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args().check
    artifact = build()
    text = json.dumps(artifact, indent=1, sort_keys=True) + "\n"
    if not check:
        ARTIFACT.parent.mkdir(parents=True, exist_ok=True)
        ARTIFACT.write_text(text)
    elif not ARTIFACT.exists() or ARTIFACT.read_text() != text:
        sys.exit("the artifact is not what the sources compile to; run `make contracts` and commit it")
    for name, size in artifact["runtime_bytes"].items():
        print(f"{name}: {size} of {MAX_RUNTIME} bytes")


if __name__ == "__main__":
    main()
