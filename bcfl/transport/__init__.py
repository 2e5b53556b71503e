"""One HTTP server and one HTTP client, both bounded in bytes and in time."""
