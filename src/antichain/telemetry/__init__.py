"""
What other systems are told of a run: spans, metrics, log records. Listeners all: they see facts, and change none.
"""
