"""
Plans that run while a model writes them, and that are trusted in nothing.

Reading order: `formats` (how plans are written), `caps`, `references` (`$step.path`), `literals`, `steps` (one step,
checked against its tool), `ordering` (what may enter the run, and what is wrong), `refusal` (what the model is told),
`plan_stream` (the run), `replan` (the loop around it).
"""
