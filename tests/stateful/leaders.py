"""Play the calls that a round ends with: proposals, right and wrong, and their attestations."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import rule

from bcfl.protocol.evidence import Evidence
from bcfl.protocol.types import Phase
from testkit.harness import Account, digest
from tests.stateful.contents import KINDS, RIGHT, Contents, proposal
from tests.stateful.members import Members, people_indices

kinds = st.sampled_from([RIGHT, RIGHT, RIGHT, *KINDS])
cids = st.integers(0, 2)
NOTHING = digest("none"), (digest("other"),) * 3


class Leaders(Members):
    """Play a machine's calls about proposals."""

    contents: Contents
    crooks: set[int]  # places of those that propose and attest what is wrong, when they play a phase
    kind: int  # of what they propose

    @property
    def standing(self) -> Evidence | None:
        """Return what is behind the proposal that stands."""
        is_there = self.model.clock.phase is Phase.ATTEST
        return self.contents.evidence[self.model.content] if is_there else None

    @rule(crooks=st.sets(st.integers(0, 3)), kind=kinds)
    def corrupt(self, crooks: set[int], kind: int) -> None:
        """Set who breaks the rules from now on, where they play a phase."""
        self.crooks, self.kind = crooks, kind

    @rule(caller=people_indices, kind=kinds, place=cids)
    def propose(self, caller: int, kind: int, place: int = 0) -> None:
        (accepted, fields), content = NOTHING, b""
        if self.model.round in self.f.tallies:
            evidence = self.contents.of(kind)
            accepted, fields = evidence.context.accepted, proposal(evidence, digest("cid", place))
            content = evidence.context.proposal
            if evidence.find() is not None:
                self.model.wrong.add(content)
        key = self.people[caller]
        effect = self.model.propose(self.now, key.address, content, fields[1])
        self.judge(effect, key, "propose", accepted, *fields)

    @rule(caller=people_indices, place=cids)
    def correct_cid(self, caller: int, place: int) -> None:
        key = self.people[caller]
        self.judge(self.model.correct_cid(key.address), key, "correct_cid", digest("cid", place))

    @rule(caller=people_indices, right=st.sampled_from([True, True, False]))
    def attest(self, caller: int, right: bool) -> None:
        """State that the proposal that stands is right, whether it is or not; or something else."""
        content = self.model.content if right and self.model.content else digest("other")
        key = self.people[caller]
        self.judge(self.model.attest(self.now, key.address, content), key, "attest", content)

    def attest_honestly(self, place: int) -> None:
        if place in self.crooks or self.model.content not in self.model.wrong:
            self.attest(place, True)

    @rule(caller=people_indices, right=st.sampled_from([True, True, False]), other=st.sampled_from([0, 0, 1]))
    def finalize(self, caller: int, right: bool, other: int = 0) -> None:
        fields, content = NOTHING[1], b""
        if right and self.standing is not None:
            cid = digest("other") if other else self.model.cid
            fields, content = proposal(self.standing, cid), self.model.content
        effect = self.model.finalize(self.now, content, fields[1])
        if self.judge(effect, self.people[caller], "finalize", *fields):
            self.contents.finalize(content)

    @rule(caller=people_indices)
    def skip(self, caller: int) -> None:
        self.judge(self.model.skip(self.now), self.people[caller], "skip", *self.skip_args())

    def skip_args(self) -> list[object]:
        is_led = self.model.clock.phase in (Phase.PROPOSE, Phase.ATTEST)
        return self.f.skip_args() if is_led else [[], []]

    def lead_key(self) -> Account:
        return next(key for key in self.people if key.address == self.model.leader)
