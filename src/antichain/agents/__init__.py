"""
What an agent needs on top of graphs: tools that a model may call, and plans that it writes. Nothing here talks to a
model.

Reading order for tools: `faults` (what may be wrong with arguments), `plain` (what JSON can hold), `docstrings` and
`parameters` (what a function takes), `checking` (what checks arguments), `schema` (pydantic), `given_schema` (a schema
that came as a dict), `foreign` (objects of other libraries, by shape), `strict` (OpenAI's strict form), `tools`.

For calls: `texts` (what can be sent, what is JSON), `messages` (the forms of calls and answers), `results` (what a
model is told), `sanitize` (what it may read), `rules` (options), `turn` (the calls of one message as a graph), `calls`.

For plans: `caps` (how large one may be), `references` and `literals` (what arguments may hold), `steps` (one step),
`ordering` (the steps among each other), `refusal` (what is said about a faulty plan), `plan_stream`, `replan`; and
`formats`, which reads what a model streams.
"""
