"""Floor 4a: the `Store` port, its memory and SQLite implementations, and blob files."""
