"""
The calls that a model asks for in one message: each has its answer, in order, whatever goes wrong with it.

Reading order: `texts` (what can be sent, what is JSON), `messages` (the forms of calls and answers), `results` (what a
model is told), `sanitize` (what it may read), `rules` (options), `turn` (the calls of one message as a graph),
`run_calls`.
"""
