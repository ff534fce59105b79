"""
The calls that a model asks for in one message, made at once: whatever goes wrong with one is its answer.

`messages` knows the shapes of calls and answers, `turn` the graph in between, `results` what a model is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Unpack

from antichain.agents.calls.results import ToolMessages
from antichain.agents.calls.rules import CallOptions, refused
from antichain.agents.calls.turn import Turn
from antichain.agents.tools.tool import Tools
from antichain.errors import RunFailed, RunTimeout

__all__ = ["run_tool_calls", "run_tool_calls_sync"]


async def run_tool_calls(calls: object, tools: Tools | Iterable[Any], **options: Unpack[CallOptions]) -> ToolMessages:
    """
    Make the calls that a model asks for, at once, and return the answers, in the order of the calls.

    Whatever goes wrong with a call is its answer, in words for the model and with a code in ``.results``, and harms no
    other call: an unknown tool, malformed or invalid arguments, a timeout, an error of the tool, a result that is no
    JSON. Tools keep their own policies (``timeout``, ``retry``, ``uses``, …).

    Args:
        calls: OpenAI's ``message.tool_calls`` or Anthropic's ``message.content``, as dicts or as objects of their SDKs,
            or the message itself.
        tools: the tools that may be called, and no others.
        options: how calls are made, and options of the run:

            - ``context``: the Context of a node, inside whose run the calls are made: they share its limits, its trace,
              its cancellation, and its options hold.
            - ``max_concurrent``: most calls at once, 16 by default. ``limits``: sizes of the limits that tools use.
            - ``timeout``: seconds for each call of a tool that has no timeout of its own; ``deadline``: for all calls.
            - ``sanitize``: called with the text of each result and its call, before the model reads it; it returns the
              text that the model may read, or None, or raises, to reject it. See Sanitizer.
            - ``single_flight``: make calls of one tool with the same arguments once, and give each the outcome.
            - ``approve``: names of the tools, or a predicate of the call, whose calls a person has to approve; who is
              asked is ``ask``, or that of the run around.
            - ``max_calls``: most calls of one message; those after it are refused. ``max_argument_bytes``,
              ``max_result_bytes``: of one call, 1,000,000 each by default.
            - ``grace``, ``run_id``, ``seed``, ``listeners``, ``progress``, ``tracer``: as for a run.

    Raises:
        GraphError: an option or a policy of a tool is wrong; no tool was called.
        CancelledError: the caller was cancelled. Every call has ended, or used up its ``grace``; ``.messages`` has the
            answers so far.

    Example:
        >>> def add(a: int, b: int) -> int:
        ...     return a + b
        >>> call = {"id": "call_1", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}
        >>> asyncio.run(antichain.run_tool_calls([call], antichain.Tools(add)))
        [{'role': 'tool', 'tool_call_id': 'call_1', 'content': '3'}]
    """
    turn = Turn(calls, tools, options)
    context = turn.rules.context
    try:
        run = turn.graph.arun(None, **turn.run_options) if context is None else context.run(turn.graph)
        return turn.answers(await run)
    except RunFailed as failed:
        # Inside another run: a thread that never came back holds what another call waits for.
        return turn.answers(failed.result)
    except RunTimeout as late:
        return turn.answers(late.result, deadline=late.deadline)
    except asyncio.CancelledError as stop:
        raise turn.with_answers(stop) from None


def run_tool_calls_sync(calls: object, tools: Tools | Iterable[Any], **options: Unpack[CallOptions]) -> ToolMessages:
    """
    Do the same outside async code; see `run_tool_calls`. There is no ``context`` here.
    """
    turn = Turn(calls, tools, options)
    if turn.rules.context is not None:
        raise refused("context", turn.rules.context, "only `await run_tool_calls(…)` runs inside another run")
    try:
        return turn.answers(turn.graph.run(None, **turn.run_options))
    except RunTimeout as late:
        return turn.answers(late.result, deadline=late.deadline)
    except KeyboardInterrupt as stop:
        raise turn.with_answers(stop) from None
