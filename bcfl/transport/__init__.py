"""The one HTTP server and the one HTTP client, both bounded in bytes and in time."""
