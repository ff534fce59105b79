"""
How a plan that a model writes is read while it streams in: one file per form. Nothing here knows tools or graphs.

Reading order: `bounds` (how much is read), `faults` (what may be wrong), `values` (strict JSON), `step_form` (what a
step is), `scanning` (where an object ends), `json_text`, `literals` and `call_text` (LLMCompiler), `calls` (calls of
tools) and how providers say them, `detecting` (which form a text has), `reading` (any source).
"""

from antichain.agents.plans.formats.bounds import ReadingBounds
from antichain.agents.plans.formats.faults import FormatFault
from antichain.agents.plans.formats.reading import FORMATS, PlanFormat, read_steps

__all__ = ["FORMATS", "FormatFault", "PlanFormat", "ReadingBounds", "read_steps"]
