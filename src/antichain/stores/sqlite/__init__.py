"""
Journals in a SQLite file, by the standard library.

Reading order: `sql/` (what is in the file), `schema` (whether it is ours), `rows` (one fact), `reading`, `locks` (who
holds a run), `writing` (the one writer of a file in a process), `store` (the six methods).
"""
