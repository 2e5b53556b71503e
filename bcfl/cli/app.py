"""All commands of `bcfl` in the order in which its help lists them."""

from __future__ import annotations

from bcfl.cli.examples import help_, with_examples
from bcfl.cli.groups import grouped
from bcfl.cli.node import account, chain, deploy, doctor, fund, keys, start, status, up, watch
from bcfl.cli.query.audit import audit
from bcfl.cli.query.bundle import bundle
from bcfl.cli.query.contracts import abi, call, events
from bcfl.cli.query.disclose import disclose
from bcfl.cli.query.evaluate import evaluate
from bcfl.cli.query.leaders import leader
from bcfl.cli.query.listing import adversaries, examples, ls, tasks, version
from bcfl.cli.query.members import device, miner
from bcfl.cli.query.models import export, fetch, model
from bcfl.cli.query.report import report
from bcfl.cli.query.rounds import round_
from bcfl.cli.query.ui import ui
from bcfl.cli.query.votes import votes
from bcfl.cli.root import NUMBERS, new_app
from bcfl.cli.run.run import run
from bcfl.cli.run.sweep import sweep

app = new_app()
app.command("run")(run)
app.command("sweep")(sweep)
app.command("ls")(ls)
app.command("round", context_settings=NUMBERS)(grouped(round_))
app.command("model", context_settings=NUMBERS)(grouped(model))
app.command("leader", context_settings=NUMBERS)(grouped(leader))
app.command("device", context_settings=NUMBERS)(grouped(device))
app.command("miner", context_settings=NUMBERS)(grouped(miner))
app.command("votes", context_settings=NUMBERS)(grouped(votes))
app.command("events")(grouped(events))
app.command("call", context_settings=NUMBERS)(grouped(call))
app.command("abi")(abi)
app.command("fetch")(grouped(fetch))
app.command("export", context_settings=NUMBERS)(grouped(export))
app.command("evaluate")(grouped(evaluate))
app.command("audit")(grouped(audit))
app.command("bundle")(grouped(bundle))
app.command("disclose", context_settings=NUMBERS)(grouped(disclose))
app.command("ui")(grouped(ui))
app.command("report")(grouped(report))
app.command("adversaries")(adversaries)
app.command("tasks")(tasks)
app.command("examples")(examples)
app.command("version")(version)
app.command("help")(help_)
for part in (chain, account, keys, deploy, fund, start, up, status, watch, doctor):
    part.register(app)
with_examples(app)
