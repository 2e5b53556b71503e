# pragma version 0.4.3
"""
@title Puppet: an account with code, which refuses money or answers it with a call
@license Apache-2.0
"""

answer: Bytes[1024]


@external
@payable
def act(to: address, data: Bytes[1024]):
    """
    @notice Calls a contract with what is sent along.
    @param to The contract.
    @param data The calldata.
    """
    raw_call(to, data, value=msg.value)


@external
def learn(answer: Bytes[1024]):
    """
    @notice Sets what money is answered with.
    @param answer The calldata of a call to whoever pays.
    """
    self.answer = answer


@external
@payable
def __default__():
    """
    @notice Refuses money until it has learned an answer.
    """
    assert len(self.answer) != 0, "puppet: no, thanks"
    raw_call(msg.sender, self.answer)
