"""Show a federation in a browser: `bcfl ui`. It reads, holds no key and sends no transaction."""
