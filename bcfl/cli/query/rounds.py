"""`bcfl round`: everything that the chain says of one round."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bcfl.cli.options import JsonOption, RoundArgument, RunOption, RunsOption
from bcfl.cli.output.printing import (
    Column,
    Row,
    ether,
    moment,
    plural,
    print_fields,
    print_table,
    show,
)
from bcfl.cli.query.votes import cast, tallied

if TYPE_CHECKING:
    from bcfl.federation.query import LocalQuery, Transaction
    from bcfl.protocol.rounds import Round

# The phase that a transaction is of, by the first event in it, in the order of a round.
PHASES = {
    "Committed": "commit",
    "Revealed": "reveal",
    "VoteCommitted": "vote",
    "Wished": "unveil",
    "Voted": "unveil",
    "Tallied": "tally",
    "Elected": "elect",
    "Proposed": "propose",
    "Skipped": "propose",
    "Attested": "attest",
    "Finalized": "finalize",
    "Voided": "void",
}


def round_(
    number: RoundArgument = None,
    run: RunOption = None,
    runs: RunsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Everything of round N, the last one when left out."""
    from bcfl.federation.query import opened

    with opened(run, runs) as found:
        view = round_view(found, found.round(number))
    show(view, as_json, _print_round)


def round_view(o: LocalQuery, r: Round) -> dict[str, Any]:
    """A round as JSON has it; the model is the one in force after the round."""
    transactions = o.transactions(r)
    block = o.history.model_before(r.number + 1)
    running = r.closed is None
    return {
        "round": r.number,
        "status": r.status,
        "reason": None if r.void is None else r.void.name.lower(),
        "engine": r.engine.name.lower(),
        "committee": list(r.committee),
        "opened": r.opened,
        "closed": r.closed,
        "due": _due(o) if running else None,
        "leader": r.leader,
        "accepted": [o.history.devices[item.update.device] for item in r.taken()],
        "rejected": _rejected(o, r),
        "samples": r.samples,
        "global_root": block.root,
        "global_cid": o.cid_of(block.cid),
        "block_hash": r.block_hash,
        "parent": r.block.parent if r.block else None,
        "reward": r.block.reward if r.block else 0,
        "seed": r.seed,
        "gas": sum(item.gas for item in transactions),
        "transactions": len(transactions),
        "phases": _phases(transactions),
        "commits": [{"sender": sender, "digest": digest} for sender, digest in r.commits.items()],
        "submissions": _submissions(o, r),
        "vote_commits": [{"miner": miner, "digest": digest} for miner, digest in r.vote_commits.items()],
        "votes": cast(r),
        "elections": [{"leader": e.leader, "turn": e.turn, "nonce": e.nonce} for e in r.elections],
        "skipped": r.skipped,
        "proposals": _proposals(o, r),
        "penalties": [{"miner": miner, "amount": amount} for miner, amount in r.penalties],
    }


def _due(o: LocalQuery) -> dict[str, Any]:
    """What the running round waits for."""
    clock = o.clock
    missing = clock.expected & ~clock.acted
    awaited = [m.account for m in o.history.miners.values() if missing >> m.index & 1]
    return {"phase": clock.phase.name.lower(), "deadline": _deadline(clock.deadline), "awaited": awaited}


def _deadline(timestamp: int) -> int | None:
    """A deadline; the tally has none."""
    return timestamp if timestamp < 2**36 - 1 else None


def _rejected(o: LocalQuery, r: Round) -> list[dict[str, str]]:
    if r.accepted is None:
        return []
    return [
        {"device": o.history.devices[item.update.device], "reason": r.verdict(item.position).name.lower()}
        for item in r.submissions
        if not r.accepted[item.position]
    ]


def _phases(transactions: list[Transaction]) -> list[dict[str, Any]]:
    grouped: dict[str, list[Transaction]] = {}
    for item in transactions:
        phase = next((PHASES[name] for name in item.names if name in PHASES), "other")
        grouped.setdefault(phase, []).append(item)
    return [
        {
            "phase": phase,
            "from": items[0].timestamp,
            "until": items[-1].timestamp,
            "transactions": len(items),
            "gas": sum(item.gas for item in items),
        }
        for phase, items in grouped.items()
    ]


def _submissions(o: LocalQuery, r: Round) -> list[dict[str, Any]]:
    return [
        {
            "position": item.position,
            "device": o.history.devices[item.update.device],
            "index": item.update.device,
            "submitter": item.submitter,
            "samples": item.update.samples,
            "microseconds": item.update.microseconds,
            "verdict": tallied(r, item.position),
            "root": item.update.root,
            "cid": o.cid_of(item.update.cid, o.terms.lane_bits),
            "verdicts": {miner: said.name.lower() for miner, said in r.reasons(item.position).items()},
        }
        for item in r.submissions
    ]


def _proposals(o: LocalQuery, r: Round) -> list[dict[str, Any]]:
    return [
        {
            "leader": made.leader,
            "root": made.root,
            "cid": o.cid_of(made.cid),
            "rows": made.rows,
            "attested": list(made.attested),
        }
        for made in r.proposals
    ]


def _print_round(view: dict[str, Any]) -> None:
    print_fields(_summary(view))
    columns: list[Column]
    rows: list[Row]
    if view["phases"]:
        columns = [Column("phase"), Column("transactions", True), Column("gas", True)]
        rows = [
            (p["phase"], p["transactions"], p["gas"], moment(p["from"]), moment(p["until"]))
            for p in view["phases"]
        ]
        print_table([*columns, Column("from (UTC)"), Column("until (UTC)")], rows, "Phases")
    if view["submissions"]:
        columns = [Column("#", True), Column("device"), Column("index", True), Column("samples", True)]
        rows = [
            (s["position"], s["device"], s["index"], s["samples"], _ms(s), s["verdict"], s["submitter"])
            for s in view["submissions"]
        ]
        print_table([*columns, Column("ms", True), Column("verdict"), Column("brought by")], rows, "Updates")
    if view["votes"]:
        columns = [Column("miner"), Column("weight", True), Column("accepts", True), Column("rejects", True)]
        rows = [
            (v["miner"], v["weight"], v["accepted"], v["rejected"], v["matches"], v["wish"])
            for v in view["votes"]
        ]
        columns += [Column("as the tally", True), Column("wishes for")]
        wishes = any(vote["wish"] for vote in view["votes"])
        print_table(
            columns if wishes else columns[:-1], rows if wishes else [row[:-1] for row in rows], "Votes"
        )
    if view["proposals"]:
        rows = [(p["leader"], p["root"], plural(len(p["attested"]), "miner")) for p in view["proposals"]]
        print_table([Column("leader"), Column("root"), Column("attested by")], rows, "Proposals")
    if view["penalties"]:
        rows = [(p["miner"], ether(p["amount"])) for p in view["penalties"]]
        print_table([Column("miner"), Column("amount", True)], rows, "Penalties")


def _ms(submission: dict[str, Any]) -> str:
    return f"{submission['microseconds'] / 1000:,.1f}"


def _summary(view: dict[str, Any]) -> list[tuple[str, object]]:
    reason = f" ({_words(view['reason'])})" if view["reason"] else ""
    fields: list[tuple[str, object]] = [
        ("round", view["round"]),
        ("status", view["status"] + reason),
        ("opened", _utc(view["opened"])),
        ("closed", _utc(view["closed"])),
    ]
    if view["due"]:
        awaited = ", ".join(view["due"]["awaited"]) or "nobody"
        until = _utc(view["due"]["deadline"]) or "somebody takes the step"
        fields += [("phase", f"{view['due']['phase']}, until {until}"), ("awaited", awaited)]
    if view["skipped"]:
        fields.append(("skipped", ", ".join(view["skipped"])))
    return [
        *fields,
        ("leader", f"{view['leader']} ({view['engine']})" if view["leader"] else None),
        *([] if view["leader"] else [("engine", view["engine"])]),
        *([("committee", ", ".join(view["committee"]))] if view["committee"] else []),
        ("updates", _counted(view)),
        ("model root", view["global_root"]),
        ("model CID", view["global_cid"]),
        ("block", view["block_hash"]),
        ("parent", view["parent"]),
        ("reward", ether(view["reward"])),
        ("gas", f"{view['gas']:,} in {plural(view['transactions'], 'transaction')}"),
    ]


def _utc(timestamp: int | None) -> str | None:
    return None if timestamp is None else f"{moment(timestamp)} UTC"


def _counted(view: dict[str, Any]) -> str:
    if not view["votes"]:
        return plural(len(view["submissions"]), "update")
    return f"{len(view['accepted'])} of {len(view['submissions'])} accepted, {view['samples']:,} samples"


def _words(name: str) -> str:
    return name.replace("_", " ")
