"""
What an agent needs on top of graphs. Nothing here talks to a model.

`tools`: what a model may call. `calls`: the calls of one message, made at once. `plans`: steps that run while a model
writes them.
"""
