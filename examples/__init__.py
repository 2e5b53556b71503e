"""Tasks and learners to start from; `bcfl examples` writes them into a folder."""
