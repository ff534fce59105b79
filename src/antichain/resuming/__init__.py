"""
What a stored run and a graph have to do with each other: what has changed since, and how long nodes took before.

Reading order: `digests` (texts into a few characters), `wired` (how a node is wired), `fingerprints` (that, in one text
per node of a run), `wiring` (what a run's header says of its graph), `places` (where a path leads), `changes` (what
differs), with `words` for it and `rerun` for what follows; `history`.
"""
