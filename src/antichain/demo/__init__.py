"""
`antichain demo`: the main job on real input, offline. Nothing else of the package knows this folder, only the command.

- `graph.py` is what a user would write, and is meant to be read: start there.
- `corpus.py` reads docstrings and finds those that a question is about.
- `chat.py` talks to a model over HTTP; `pretend.py` says what the model would, where there is none.
- `command.py` runs the graph and tells what came of it; `saying.py` is how it speaks.
- `strategies.py` makes the same calls in three ways, and is meant to be read too; `capacity.py` compares them, for
  `--capacity`, and `plot.py` draws what the provider saw.
"""
