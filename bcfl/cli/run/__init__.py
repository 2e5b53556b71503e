"""Commands that train in this process."""
