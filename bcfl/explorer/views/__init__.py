"""The pages of the explorer: each makes its JSON from a query, and what is drawn from that."""
