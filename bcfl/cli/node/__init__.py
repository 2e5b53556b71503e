"""Commands around a deployed federation and its processes."""
