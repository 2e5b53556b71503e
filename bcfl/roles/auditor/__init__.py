"""The auditor (section 8): replays a whole training from chain and store and believes neither."""
