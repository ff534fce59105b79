"""
The calls of one message as a graph, with a node for each; and what became of each, once the graph has run. A tool that
fails is an ending like any other: no call reaches another.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import CoroutineType
from typing import Any, NamedTuple

from antichain.agents.calls import results as say
from antichain.agents.calls.messages import ToolCall, read_calls
from antichain.agents.calls.results import ToolMessages, ToolResult, told
from antichain.agents.calls.rules import NAME, refused, settled
from antichain.agents.calls.texts import ArgumentsMalformed, as_text, canonical, encodable, read_arguments, size_of
from antichain.agents.tools.faults import ArgumentsInvalid
from antichain.agents.tools.tool import Tool, Tools, tools_of
from antichain.context import Context
from antichain.errors import NodeFailed, shown
from antichain.graph import Graph, value
from antichain.policies import UNSET, Policies
from antichain.policies.limits import as_uses
from antichain.record import NodeRecord, RunResult
from antichain.runnable import describe

__all__ = ["Turn"]


class Failed(NamedTuple):
    """
    The value of a node whose tool failed for good: an ending like any other, so that it is nobody else's affair.
    """

    error: BaseException


class Turn:
    """
    The calls of one message: those that cannot be made have their result already, the others a node of `graph`.
    """

    def __init__(self, calls: object, tools: Tools | Iterable[Any], options: Mapping[str, Any]) -> None:
        self.tools = tools_of(tools)
        self.rules, self.run_options = settled(options, self.tools)
        rules = self.rules
        self.graph = Graph(NAME, limits=rules.limits, defaults=Policies(timeout=rules.timeout))
        # Nodes by tool and arguments, where equal calls are made once.
        self._flights: dict[tuple[str, str], str] = {}
        # What people said, by node.
        self._approved: dict[str, bool] = {}
        # Calls inside another run have no `max_concurrent` of their own, but a limit. Those of one size share it.
        self._slot = f"{rules.max_concurrent} tool calls" if rules.context is not None else None
        if self._slot is not None:
            self.graph.limits.setdefault(self._slot, rules.max_concurrent)
        # Every call, in order, with its node or its result; several calls may have one node.
        self._entries: list[tuple[ToolCall, str | ToolResult]] = []
        for position, (call, fault) in enumerate(read_calls(calls), 1):
            if fault is not None:
                entry: tuple[ToolCall, str | ToolResult] = call, say.malformed_call(call, fault)
            elif rules.max_calls is not None and position > rules.max_calls:
                entry = call, say.too_many(call, rules.max_calls)
            else:
                entry = self._entered(call, position)
            self._entries.append(entry)

    # -- what is called

    def _entered(self, call: ToolCall, position: int) -> tuple[ToolCall, str | ToolResult]:
        """
        Check a call against its tool, and give it a node.
        """
        tool = self.tools.get(call.name)
        if tool is None:
            return call, say.unknown_tool(call, list(self.tools), self.tools.nearest(call.name))
        try:
            arguments = read_arguments(call.arguments, self.rules.max_argument_bytes)
            values = tool.read(arguments)
        except ArgumentsMalformed as error:
            return call, say.malformed_json(call, error)
        except ArgumentsInvalid as error:
            return call, say.invalid_arguments(call, error)
        call = replace(call, arguments=arguments)
        key = (call.name, canonical(arguments) if self.rules.single_flight else str(position))
        if key in self._flights:
            return call, self._flights[key]
        try:
            needs_approval = self._needs_approval(call)
        except Exception as error:  # noqa: BLE001  # the user's predicate: if it fails, no call may pass
            return call, say.denied(call, "whether it needs approval could not be found out", error, None)
        node = self._flights[key] = f"{call.name}[{position}]"
        self._add(node, call, tool, values, needs_approval=needs_approval)
        return call, node

    def _add(self, node: str, call: ToolCall, tool: Tool, values: Mapping[str, Any], *, needs_approval: bool) -> None:
        policies: dict[str, Any] = dict(tool.policies)
        policies["fallback"] = _kept(policies.get("fallback", UNSET))
        if self._slot is not None and not isinstance(tool.runnable, Graph):
            # A graph takes no slot; what is in it does, if it says so.
            own = dict(as_uses(policies["uses"])) if "uses" in policies else {}
            policies["uses"] = {**own, self._slot: 1}
        if needs_approval:
            if policies.get("when") is not None:
                raise refused("approve", call.name, "a tool with a condition of its own (when=) cannot be approved too")
            # Before the tool's node, so that the timeout of the tool does not include a person.
            self.graph.add(_gate_of(node), self._gate(call, node), timeout=None, fallback=Failed)
            policies |= {"depends_on": [_gate_of(node)], "when": lambda: self._approved.get(node, False)}
        runnable = _without_gate(tool.runnable, _gate_of(node)) if needs_approval else tool.runnable
        self.graph.add(node, runnable, inputs={name: value(each) for name, each in values.items()}, **policies)

    # -- approval

    def _needs_approval(self, call: ToolCall) -> bool:
        approve = self.rules.approve
        if approve is None or isinstance(approve, bool):
            return bool(approve)
        return bool(approve(call)) if callable(approve) else call.name in approve

    def _gate(self, call: ToolCall, node: str) -> Callable[..., Any]:
        # Whole, because what was left out could be what the person should have seen.
        question = f"Run the tool {call.name!r} with {canonical(call.arguments)}?"

        async def approve(context: Context) -> None:
            self._approved[node] = bool(await context.ask(question, type=bool))

        return approve

    # -- what came of it

    def answers(self, result: RunResult, *, deadline: float | None = None) -> ToolMessages:
        """
        Say of every call what became of it; with *deadline*, a run that it ended.
        """
        results = []
        for call, entry in self._entries:
            ended = entry if isinstance(entry, ToolResult) else self._ended(call, entry, result, deadline)
            results.append(told(ended, call))
        return ToolMessages(results, result)

    def with_answers(self, stop: Any) -> BaseException:  # Any: an exception that takes attributes
        """
        Keep on what ends the run what became of each call.
        """
        result = getattr(stop, "result", None)
        if result is not None:
            stop.messages = self.answers(result)
        return stop  # type: ignore[no-any-return]

    def _ended(self, call: ToolCall, node: str, result: RunResult, deadline: float | None) -> ToolResult:
        record = result.nodes[node]
        match record.state:
            case "succeeded":
                outcome = result[node]
                if isinstance(outcome, Failed):
                    return self._failed(call, record, outcome.error)
                return self._returned(call, node, outcome)
            case "failed":
                return self._failed(call, record, record.error or NodeFailed(node, record.attempts))
            case "skipped":
                return self._not_taken(call, node, result)
            case _:
                return say.stopped(call, node, deadline, has_started=record.attempts > 0)

    def _failed(self, call: ToolCall, record: NodeRecord, error: BaseException) -> ToolResult:
        if isinstance(say.innermost(error), TimeoutError):
            return say.timed_out(call, error, record.id, record.attempts)
        try:
            # What a tool's error says may be what its results must not.
            says = self._passed(say.words_of(error), call)
        except Withheld:
            says = "its message is withheld"
        return say.crashed(call, error, record.id, record.attempts, says)

    def _not_taken(self, call: ToolCall, node: str, result: RunResult) -> ToolResult:
        asked = result.get(_gate_of(node)) if _gate_of(node) in result.nodes else None
        if isinstance(asked, Failed):
            return say.denied(call, "it needs the approval of a person, and nobody answered", asked.error, node)
        if node in self._approved:
            return say.denied(call, "a person was asked, and said no", None, node)
        return say.denied(call, "the tool's own condition does not allow it now", None, node)

    def _returned(self, call: ToolCall, node: str, value: Any) -> ToolResult:  # Any: the tool's own
        ended = ToolResult(call.id, call.name, "ok", value, node=node)
        try:
            text = as_text(value)
        except Exception as error:  # noqa: BLE001  # Unserialisable, or what the value's own code raises
            return say.unserialisable(ended, call, error)
        try:
            text = self._passed(text, call)
        except Withheld as error:
            return say.rejected(ended, call, str(error), error.__cause__)
        if (size := size_of(text)) > self.rules.max_result_bytes:
            most = f"at most {self.rules.max_result_bytes:,} are passed on: ask for less"
            return say.rejected(ended, call, f"it has {size:,} bytes, and {most}", None)
        return replace(ended, content=text)

    def _passed(self, text: str, call: ToolCall) -> str:
        """
        Return what the model may read of *text*.

        Raises:
            Withheld: nothing of it.
        """
        sanitize = self.rules.sanitize
        if sanitize is None:
            return text
        try:
            passed = sanitize(text, call)
            if passed is not None and not isinstance(passed, str):
                raise TypeError(f"sanitize= returned {shown(passed)}: it returns a text, or None")
        except KeyboardInterrupt:
            raise
        except ValueError as error:
            raise Withheld(say.words_of(error)) from error
        except BaseException as error:
            raise Withheld("it could not be checked") from error
        if passed is None:
            raise Withheld("it must not be passed on")
        return encodable(passed)


class Withheld(Exception):  # noqa: N818  # never leaves this file
    """
    Say why the model may not read a text, in words that it may.
    """


def _gate_of(node: str) -> str:
    return f"approve {node}"


def _without_gate(runnable: Any, gate: str) -> Any:  # Any: what a tool wraps
    """
    Keep the output of the gate from a function that takes any keyword.
    """
    described = describe(runnable)
    if described is None or not described.takes_kwargs:
        return runnable
    if described.form not in ("coroutine", "function"):
        raise refused("approve", runnable, "a generator with **parameters cannot be approved: name its parameters")

    @functools.wraps(runnable)
    def call(*args: Any, **arguments: Any) -> Any:  # Any: what the tool takes and returns
        arguments.pop(gate)
        return runnable(*args, **arguments)

    @functools.wraps(runnable)
    async def call_async(*args: Any, **arguments: Any) -> Any:  # Any: the same
        return await call(*args, **arguments)

    return call_async if described.form == "coroutine" else call


def _kept(fallback: Any) -> Any:  # Any: the user's value, or a function from the error to one
    """
    Make the fallback of a node: the tool's own if it has one; what fails for good is kept.
    """
    if fallback is UNSET:
        return Failed
    if not callable(fallback):
        return fallback

    def fall_back(error: BaseException) -> Any:  # Any: the user's value
        try:
            made = fallback(error)
        except BaseException as broken:  # noqa: BLE001  # the user's: whatever it raises is this call's failure
            return Failed(broken)
        return _kept_body(made) if isinstance(made, CoroutineType) else made

    return fall_back


async def _kept_body(body: CoroutineType[Any, Any, Any]) -> Any:  # Any: the user's value
    try:
        return await body
    except asyncio.CancelledError:
        raise
    except BaseException as broken:  # noqa: BLE001  # the same
        return Failed(broken)
