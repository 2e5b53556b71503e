# pragma version 0.4.3
"""
@title submissions: what the devices hand in
@license Apache-2.0
@notice A batch is committed to as one digest, the fold of its commitments, and opened in the
        next phase. A commitment is the EIP-712 hash that the device signs. Of each revealed
        update one word joins the chain of updates: commitment (192 bits) | pace (24) | device (16) |
        samples (24); the pace, samples per second, only where the engine is RESOURCE.
"""

from interfaces import IFederation
from modules import constants
from modules import terms
from modules import registry
from modules import rounds

uses: terms
uses: registry
uses: rounds


MAX_BATCH: constant(uint256) = 64
PER_SLOT: constant(uint256) = 224  # devices whose reveal one slot records, beside the round
COMMITMENT: constant(uint256) = max_value(uint256) - (2**64 - 1)
PACE: constant(uint256) = 40  # shift
MAX_PACE: constant(uint256) = 2**24 - 1

DOMAIN_TYPE: constant(bytes32) = keccak256(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
UPDATE_TYPE: constant(bytes32) = keccak256(
    "Update(uint256 round,uint256 device,bytes32 root,bytes32 cid,uint256 samples,uint256 microseconds,uint256 salt)"
)
PREFIX: constant(bytes2) = 0x1901
CHAIN: immutable(uint256)
DOMAIN: immutable(bytes32)

links: bytes32
seen: HashMap[uint256, uint256]
lone: HashMap[address, bytes32]  # keccak of (round, digest): what was committed opens in its own round


@deploy
def __init__():
    """
    @notice Binds signatures to this chain and this contract.
    """
    CHAIN = chain.id
    DOMAIN = self._domain()


@internal
@view
def _domain() -> bytes32:
    """
    @notice The EIP-712 domain on the present chain.
    """
    return keccak256(
        abi_encode(DOMAIN_TYPE, keccak256("bcfl"), keccak256("1"), chain.id, self)
    )


@external
def commit(digest: bytes32):
    """
    @notice Commits a batch: a miner for its devices, or a device for itself.
    @param digest The fold of the batch's commitments.
    """
    clock: uint256 = rounds._enter(constants.COMMIT)
    record: uint256 = 0
    bit: uint256 = 0
    record, bit = registry._seat(msg.sender, clock >> rounds.EXPECTED)
    if bit != 0 and (clock >> rounds.ACTED) & bit == 0:
        registry.records[msg.sender] = (convert(digest, uint256) & ~registry.RECORD) | (record & registry.RECORD)
        rounds.clock = rounds._act(clock, bit, terms.TERMS.grace)
    else:
        # A miner that is a device too may, after its batch, commit its own update alone.
        assert bit == 0 or record & registry.ALSO_DEVICE != 0, "submissions: already committed"
        assert registry.device_index[msg.sender] != 0, "submissions: neither miner nor device"
        self.lone[msg.sender] = keccak256(abi_encode(rounds._round(clock), digest))
    log IFederation.Committed(round=rounds._round(clock), sender=msg.sender, digest=digest)


@external
def reveal(
    submitter: address,
    opened: uint256,
    roots: DynArray[bytes32, MAX_BATCH],
    cids: DynArray[bytes32, MAX_BATCH],
    claims: DynArray[uint256, MAX_BATCH],
    signatures: DynArray[bytes32[2], MAX_BATCH],
    sealed: DynArray[bytes32, MAX_BATCH],
):
    """
    @notice Opens all or some of a committed batch; anybody who holds openings may hand them in.
            A place whose device has revealed already is skipped, whoever opened it.
            A miner whose devices are silent, or that has none, opens nothing, so that nobody waits for it.
    @param submitter Who committed the batch.
    @param opened The mask of the positions that are opened; the others stay sealed.
    @param roots Merkle roots of the opened updates.
    @param cids Digests of their CIDs.
    @param claims Packed device (32) | samples (32) | microseconds (64) | salt (128).
    @param signatures The devices' signatures, r and vs (EIP-2098).
    @param sealed The commitments that are not opened.
    """
    n: uint256 = len(roots)
    assert len(cids) == n and len(claims) == n and len(signatures) == n, "submissions: lists differ"
    clock: uint256 = rounds._enter(constants.REVEAL)
    updates: uint256 = (clock >> rounds.UPDATES) & constants.MASK16
    round: uint256 = rounds._round(clock)
    domain: bytes32 = DOMAIN
    if chain.id != CHAIN:
        domain = self._domain()
    elapsed: uint256 = (block.timestamp - ((clock >> rounds.OPENED) & constants.MASK32)) * 1_000_000

    links: bytes32 = empty(bytes32)
    if updates != 0:
        links = self.links
    digest: bytes32 = empty(bytes32)
    slot: uint256 = max_value(uint256)
    seen: uint256 = 0
    rest: uint256 = 0
    skips: uint256 = 0
    skipped: uint256 = 0
    max_samples: uint256 = terms.TERMS.max_samples
    paced: bool = clock >> rounds.ENGINE == constants.RESOURCE
    for position: uint256 in range(n + len(sealed), bound=MAX_BATCH):
        if (opened >> position) & 1 == 0:
            assert rest < len(sealed), "submissions: lists differ"
            digest = keccak256(abi_encode(digest, sealed[rest]))
            rest = unsafe_add(rest, 1)
            continue
        item: uint256 = unsafe_sub(position, rest)
        assert item < n, "submissions: lists differ"
        claim: uint256 = claims[item]
        device: uint256 = claim >> 224
        samples: uint256 = (claim >> 192) & constants.MASK32
        microseconds: uint256 = (claim >> 128) & constants.MASK64
        # None at all wraps around.
        assert unsafe_sub(samples, 1) < max_samples, "submissions: samples out of bounds"
        assert microseconds <= elapsed, "submissions: time beyond the round"
        place: uint256 = unsafe_div(device, PER_SLOT)
        if place != slot:
            if slot != max_value(uint256):
                self.seen[slot] = seen
            slot = place
            seen = self.seen[slot]
            if seen & constants.MASK32 != round:
                seen = round
        mark: uint256 = 1 << unsafe_add(32, device % PER_SLOT)
        commitment: bytes32 = keccak256(
            concat(
                PREFIX,
                domain,
                keccak256(
                    abi_encode(
                        UPDATE_TYPE, round, device, roots[item], cids[item], samples, microseconds, claim & constants.MASK128
                    )
                ),
            )
        )
        digest = keccak256(abi_encode(digest, commitment))
        if seen & mark != 0:
            # Somebody was quicker: the place counts once, and nobody's batch fails for it.
            skips = unsafe_add(skips, 1)
            skipped |= 1 << item
            continue
        seen |= mark
        member: uint256 = registry.devices[device]
        since: uint256 = (member >> registry.SINCE) & constants.MASK32
        until: uint256 = member >> registry.UNTIL
        # Before its first round the difference wraps around.
        assert unsafe_sub(round, since) < unsafe_sub(until, since), "submissions: not a device of this round"
        signature: bytes32[2] = signatures[item]
        vs: uint256 = convert(signature[1], uint256)
        signer: address = ecrecover(
            commitment, unsafe_add(27, vs >> 255), convert(signature[0], uint256), vs & constants.MASK255
        )
        assert convert(signer, uint256) == member & constants.MASK160, "submissions: wrong signature"
        word: uint256 = convert(commitment, uint256) & COMMITMENT | device << 24 | samples
        if paced:
            word |= min(samples * 1_000_000 // max(microseconds, 1), MAX_PACE) << PACE
        links = keccak256(abi_encode(links, word))
    if skips != n:
        updates = unsafe_add(updates, unsafe_sub(n, skips))
        assert updates <= terms.TERMS.max_updates, "submissions: round is full"
        self.seen[slot] = seen
        self.links = links
        clock = clock & ~(constants.MASK16 << rounds.UPDATES) | updates << rounds.UPDATES

    record: uint256 = 0
    bit: uint256 = 0
    record, bit = registry._seat(submitter, clock >> rounds.EXPECTED)
    batch: bool = bit != 0 and (convert(digest, uint256) ^ record) & ~registry.RECORD == 0
    if batch:
        if submitter == msg.sender or rest == 0:
            clock = rounds._act(clock, bit, terms.TERMS.grace)
    else:
        alone: bool = keccak256(abi_encode(round, digest)) == self.lone[submitter]
        assert alone and (bit == 0 or n != 0), "submissions: not the committed batch"
        assert n != 0, "submissions: nothing opened"
    rounds.clock = clock
    log IFederation.Revealed(
        round=round, submitter=submitter, roots=roots, cids=cids, claims=claims, taken=((1 << n) - 1) ^ skipped
    )


@internal
@view
def _commitment(round: uint256, root: bytes32, cid: bytes32, claim: uint256) -> bytes32:
    """
    @notice What the device of an update signed and committed to.
    @param round The round.
    @param root Merkle root of the update.
    @param cid Digest of its CID.
    @param claim Packed device (32) | samples (32) | microseconds (64) | salt (128).
    """
    device: uint256 = claim >> 224
    samples: uint256 = (claim >> 192) & constants.MASK32
    microseconds: uint256 = (claim >> 128) & constants.MASK64
    return self._hash(round, device, root, cid, samples, microseconds, claim & constants.MASK128)


@external
@view
def update_hash(
    round: uint256,
    device: uint256,
    root: bytes32,
    cid: bytes32,
    samples: uint256,
    microseconds: uint256,
    salt: uint256,
) -> bytes32:
    """
    @notice The EIP-712 hash that a device signs and commits to.
    @param round The round.
    @param device The device's index.
    @param root Merkle root of the update.
    @param cid Digest of its CID.
    @param samples Samples trained on.
    @param microseconds Computation time.
    @param salt 128 random bits.
    """
    return self._hash(round, device, root, cid, samples, microseconds, salt)


@internal
@view
def _hash(
    round: uint256,
    device: uint256,
    root: bytes32,
    cid: bytes32,
    samples: uint256,
    microseconds: uint256,
    salt: uint256,
) -> bytes32:
    """
    @notice The EIP-712 hash of an update on the present chain.
    @param round The round.
    @param device The device's index.
    @param root Merkle root of the update.
    @param cid Digest of its CID.
    @param samples Samples trained on.
    @param microseconds Computation time.
    @param salt 128 random bits.
    """
    return keccak256(
        concat(
            PREFIX,
            self._domain(),
            keccak256(abi_encode(UPDATE_TYPE, round, device, root, cid, samples, microseconds, salt)),
        )
    )


@external
@view
def domain_separator() -> bytes32:
    """
    @notice The EIP-712 domain of the signatures.
    """
    return self._domain()


@internal
@view
def _revealed(device: uint256, round: uint256) -> bool:
    """
    @notice Whether a device's update of the running round is revealed.
    @param device Its index.
    @param round The running round.
    """
    seen: uint256 = self.seen[device // PER_SLOT]
    return seen & constants.MASK32 == round and (seen >> (32 + device % PER_SLOT)) & 1 == 1
