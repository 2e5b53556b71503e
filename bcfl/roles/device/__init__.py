"""Train as a device, commit to the update and reveal it."""
