"""
Tool and Tools: what a model may call, with the schema it is shown and the check that its arguments go through.
"""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final, Unpack

from antichain.agents.tools.checking import Checker
from antichain.agents.tools.faults import ArgumentFault, ArgumentsInvalid
from antichain.agents.tools.foreign import Foreign, read_foreign
from antichain.agents.tools.parameters import Taken, parameters_beside, parameters_of, parameters_of_graph
from antichain.agents.tools.reading import Names, examined, is_about, nearest_name, told
from antichain.agents.tools.strict import strict_schema
from antichain.errors import Fault, GraphError, shown
from antichain.graph import Graph, Node
from antichain.policies import NodePolicies, Policies, policies_of
from antichain.runnable import EMPTY, describe

__all__ = ["Tool", "Tools", "tools_of"]

# In this file, Any is a user's function or object, JSON, or a value of the user's types.

# The names that both OpenAI and Anthropic accept.
NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Tool:
    """
    Hold one thing that a model may call: its name, its description, the schema of its arguments, and their check.

    Args:
        function: a function, a method, a partial, a callable object, a Graph, or an object with ``invoke`` or
            ``ainvoke`` (LangChain's tools and runnables).
        name: what the model calls it; without it, the function's own name.
        description: what the model is told; without it, the docstring says it.
        parameters: a JSON schema of an object, or a pydantic model, where the signature does not say it. The
            arguments are then passed on as they were given.
        policies: node policies (``timeout=``, ``retry=``, ``uses=``, …) of every call.

    Example:
        >>> def search(query: str, limit: int = 5) -> list[str]:
        ...     return [query] * limit
        >>> tool = Tool(search, timeout=10)
        >>> tool.parameters["required"]
        ['query']
        >>> tool.read({"query": "antichains", "limit": 2})
        {'query': 'antichains', 'limit': 2}

    Raises:
        GraphError: no schema can be made of it, or a policy is wrong; all such faults.
        ImportError: pydantic (or jsonschema, for a schema that is a dict) is not installed.
    """

    __slots__ = ("_checker", "_names", "description", "name", "policies", "runnable")

    def __init__(
        self,
        function: Any,
        *,
        name: str | None = None,
        description: str | None = None,
        parameters: Any = None,
        **policies: Unpack[NodePolicies],
    ) -> None:
        policies_of(policies, Policies())
        self.policies: NodePolicies = policies
        # What a node can run.
        self.runnable: Any = function.runnable if isinstance(function, Node) else function
        foreign = _foreign_of(self.runnable)
        self.name: str = _checked_name(name if name is not None else _name_of(self.runnable, foreign), function)
        self.description: str
        self._checker: Checker
        self._names = Names()
        if foreign is not None:
            self._read_foreign(foreign, parameters)
        else:
            self._read_function(parameters)
        if description is not None:
            self.description = description

    def _read_foreign(self, foreign: Foreign, parameters: Any) -> None:
        self.runnable = foreign.runnable if parameters is None else self.runnable
        schema = foreign.schema if parameters is None else parameters
        if schema is None:
            why = "does not say what it takes: give its JSON schema, parameters={'type': 'object', …}"
            raise GraphError(Fault("bad-tool", f"tool {self.name!r} is {shown(self.runnable)}, which {why}."), "tools")
        self.description, self._checker = foreign.description, _given_checker(self.name, schema)

    def _read_function(self, parameters: Any) -> None:
        runnable, name = self.runnable, self.name
        if parameters is not None:
            self._checker = _given_checker(name, parameters)
            taken = parameters_beside(runnable, name, self._checker.schema)
            self._names = Names(
                None if taken.takes_more else frozenset(each.name for each in taken.parameters),
                taken.reserved,
                tuple(each.name for each in taken.parameters if each.default is EMPTY),
            )
        else:
            taken = parameters_of_graph(runnable) if isinstance(runnable, Graph) else parameters_of(runnable, name)
            self._checker = _taken_checker(name, taken)
            # A parameter with an alias is known to a model by that only.
            hidden = {each.name for each in taken.parameters}.difference(self._checker.schema["properties"])
            self._names = Names(None, taken.reserved | hidden)
        self.description = taken.description

    @property
    def parameters(self) -> dict[str, Any]:
        """
        The JSON schema of the arguments, an object; a copy.
        """
        return copy.deepcopy(self._checker.schema)

    def read(self, arguments: object) -> dict[str, Any]:
        """
        Check the arguments of a call, and return them by the name of the parameter, as the types that it asks for.

        Values must fit as JSON does: the text "3" is no number. Null for a parameter that does not take it counts as
        left out where that is allowed, since strict schemas make models write it. What is left out stays out, so that
        the function's own default applies.

        Raises:
            ArgumentsInvalid: every fault at once, each with its path.
        """
        values, faults = examined(self._checker, self._names, arguments)
        if faults:
            raise ArgumentsInvalid(self.name, map(told, faults))
        return values

    def faults(self, arguments: object, *, later: Collection[tuple[object, ...]] = ()) -> tuple[ArgumentFault, ...]:
        """
        Say what is wrong with arguments of which some values are not known yet: those at the paths *later*.

        A path is a tuple of keys, as ``("filters", 2, "year")``; what is there now does not matter.

        Example:
            >>> def send(to: str, copies: int) -> None: ...
            >>> Tool(send).faults({"to": ["$s1"], "copies": "two"}, later=[("to",)])
            (ArgumentFault(path='copies', problem='should be a valid integer', given='"two"'),)
        """
        faults = examined(self._checker, self._names, arguments).faults
        return tuple(told(fault) for fault in faults if not any(is_about(fault.keys, path) for path in later))

    def __repr__(self) -> str:
        return f"Tool({self.name!r})"


class Tools(Mapping[str, Tool]):
    """
    Hold the tools that a model may call, by name.

    Takes functions, Tools, graphs, LangChain's tools and runnables, and other sets of tools.

    Example:
        >>> def add(a: int, b: int) -> int:
        ...     return a + b
        >>> tools = Tools(add)
        >>> tools.anthropic()[0]["input_schema"]["required"]
        ['a', 'b']
        >>> tools.nearest("Ad")
        'add'

    Raises:
        GraphError: two tools have one name, or something is no tool; everything that is wrong.
        ImportError: pydantic (or jsonschema, for a schema that is a dict) is not installed.
    """

    __slots__ = ("_tools",)

    def __init__(self, *tools: Any) -> None:
        self._tools: dict[str, Tool] = {}
        faults: list[Fault] = []
        for given in tools:
            for tool in given.values() if isinstance(given, Tools) else (given,):
                try:
                    self._enter(tool if isinstance(tool, Tool) else Tool(tool))
                except GraphError as error:
                    faults.extend(error.faults)
        if faults:
            raise GraphError(faults, "tools")

    def _enter(self, tool: Tool) -> None:
        known = self._tools.setdefault(tool.name, tool)
        if known is not tool:
            what = f"two tools are called {tool.name!r}: {shown(known.runnable)} and {shown(tool.runnable)}"
            raise GraphError(Fault("duplicate-id", f"{what}. Give one of them another name: Tool(…, name=…)."))

    def __getitem__(self, name: str) -> Tool:
        tool = self._tools.get(name)
        if tool is None:
            near = nearest_name(name, self._tools)
            raise KeyError(f"there is no tool {shown(name)}." + (f" Did you mean {near!r}?" if near else ""))
        return tool

    def __contains__(self, name: object) -> bool:
        return name in self._tools

    def __iter__(self) -> Iterator[str]:
        return iter(self._tools)

    def __len__(self) -> int:
        return len(self._tools)

    def nearest(self, name: object) -> str | None:
        """
        Return the name of the tool that *name* probably means, None if there is none like it.
        """
        return nearest_name(name, self._tools)

    def openai(self, *, strict: bool = False) -> list[dict[str, Any]]:
        """
        Return the tools as OpenAI's chat completions take them: ``tools=tools.openai()``.

        Args:
            strict: have the model keep to the schema exactly. Every parameter is then required, and what was optional
                may be null, which read() takes for left out.

        Raises:
            GraphError: strict, and a schema says what the strict form cannot (names of the model's choice, values of
                any type); all such places.
        """
        faults: list[Fault] = []
        made: list[dict[str, Any]] = []
        for tool in self._tools.values():
            function: dict[str, Any] = {"name": tool.name, "description": tool.description}
            try:
                parameters = strict_schema(tool.parameters, tool.name) if strict else tool.parameters
                # An object without this is refused, though by JSON Schema it may leave it out.
                function["parameters"] = {**parameters, "properties": parameters.get("properties", {})}
            except GraphError as error:
                faults.extend(error.faults)
            made.append({"type": "function", "function": {**function, "strict": True} if strict else function})
        if faults:
            raise GraphError(faults, "tools")
        return made

    def anthropic(self) -> list[dict[str, Any]]:
        """
        Return the tools as Anthropic's messages take them: ``tools=tools.anthropic()``.
        """
        return [
            {"name": tool.name, "description": tool.description, "input_schema": tool.parameters}
            for tool in self._tools.values()
        ]

    def __repr__(self) -> str:
        return f"Tools({', '.join(self._tools)})"


def tools_of(given: Tools | Iterable[Any]) -> Tools:
    """
    Return a set of tools, or make one of several.

    Raises:
        GraphError: one of them cannot be a tool, or *given* is not several.
        ImportError: pydantic (or jsonschema, for a schema that is a dict) is not installed.
    """
    if isinstance(given, Tools):
        return given
    if isinstance(given, (str, Mapping)) or not isinstance(given, Iterable):
        fix = "use Tools(…) or a list of them, and names by Tool(…, name=…)"
        raise GraphError(Fault("bad-tool", f"{shown(given)} was given as the tools: {fix}."), "tools")
    return Tools(*given)


# -- what kind of tool it is


def _foreign_of(runnable: Any) -> Foreign | None:
    if isinstance(runnable, Graph):
        return None
    described = describe(runnable)
    if described is None:
        fix = "use a function, a Graph, or an object with invoke or ainvoke"
        if isinstance(runnable, (list, tuple, Mapping)):
            fix = "give the tools one by one, Tools(*functions), and names by Tool(…, name=…)"
        raise GraphError(Fault("bad-tool", f"{shown(runnable)} cannot be a tool: {fix}."), "tools")
    return read_foreign(runnable) if described.form in ("ainvoke", "invoke") else None


def _name_of(runnable: Any, foreign: Foreign | None) -> str | None:
    if foreign is not None:
        return foreign.name
    if isinstance(runnable, Graph):
        return runnable.name
    while isinstance(runnable, functools.partial):
        runnable = runnable.func
    found = getattr(runnable, "__name__", None)
    return found if isinstance(found, str) else type(runnable).__name__


def _checked_name(name: object, function: object) -> str:
    if isinstance(name, str) and NAME.fullmatch(name):
        return name
    fix = "Tool(…, name=…) with up to 64 of the letters A to z, digits, '_' and '-', which is what providers accept"
    text = f"{shown(function)} cannot be a tool called {shown(name)}: use {fix}."
    raise GraphError(Fault("bad-tool", text), "tools")


# -- what checks it: pydantic and jsonschema are imported here, when they are first needed


def _taken_checker(name: str, taken: Taken) -> Checker:
    try:
        from antichain.agents.tools.schema import ParametersChecker
    except ImportError as error:
        raise _not_installed("the schema of a function", error) from error
    return ParametersChecker(name, taken)


def _given_checker(name: str, schema: Any) -> Checker:
    try:
        if isinstance(schema, Mapping):
            from antichain.agents.tools.given_schema import GivenChecker

            return GivenChecker(name, schema)
        from antichain.agents.tools.schema import ModelChecker, is_model
    except ImportError as error:
        raise _not_installed("a check against a JSON schema", error) from error
    if is_model(schema):
        return ModelChecker(name, schema)
    text = f"tool {name!r} has parameters={shown(schema)}: use a JSON schema, as a dict, or a pydantic model."
    raise GraphError(Fault("bad-tool", text), name)


def _not_installed(what: str, error: ImportError) -> ImportError:
    text = f"{what} needs the package {error.name}, which comes with the extra: pip install 'antichain[agents]'"
    return ImportError(text, name=error.name)
