"""Commands that ask a run or a deployed federation."""
