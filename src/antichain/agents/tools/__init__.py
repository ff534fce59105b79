"""
What a model may call: the schema that it is shown, and the check that its arguments go through.

Reading order: `faults` (what may be wrong with arguments), `plain` (what JSON can hold), `docstrings` and `parameters`
(what a function takes), `checking` (what checks arguments), `schema` (pydantic), `given_schema` (a schema that came as
a dict), `foreign` (objects of other libraries, by shape), `strict` (OpenAI's strict form), `tool`.
"""
