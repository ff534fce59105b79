"""
Read the body of a request and refuse what OpenAI's API refuses, in its words where they matter to a client.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from antichain.testing.provider import tokens

__all__ = ["Chat", "Embedding", "Refused", "Tool", "read_chat", "read_embedding"]

Json: TypeAlias = Mapping[str, Any]  # Any: JSON

ROLES: Final = {"system", "developer", "user", "assistant", "tool", "function"}
TOOL_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
MOST_CHOICES: Final = 128
MOST_STOPS: Final = 4
MOST_INPUTS: Final = 2048


class Refused(Exception):  # noqa: N818  # reads as a state
    """
    Answer a call with an error: a status, and the fields of OpenAI's error object.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        type_: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers: dict[str, str] = {}
        self.body = {"error": {"message": message, "type": type_, "param": param, "code": code}}

    @property
    def fault(self) -> str:
        """
        What the log calls it.
        """
        return self.body["error"]["code"] or self.body["error"]["type"] or "error"


@dataclass(frozen=True, slots=True)
class Tool:
    """
    A function that a chat may ask to be called.
    """

    name: str
    parameters: Json


@dataclass(frozen=True, slots=True)
class Chat:
    """
    A valid chat request.
    """

    model: str
    messages: Sequence[Json]
    is_stream: bool
    wants_usage: bool
    n: int
    stop: tuple[str, ...]
    max_tokens: int | None
    tools: tuple[Tool, ...]
    # "none", "auto", "required", or the names that may be called.
    tool_choice: str | tuple[str, ...]
    is_parallel: bool
    # "text", "json_object" or "json_schema".
    format: str
    schema: Json | bool
    prompt_tokens: int

    @property
    def text(self) -> str:
        """
        All that was said.
        """
        return "\n".join(tokens.text_of(message.get("content")) for message in self.messages)

    @property
    def prompt(self) -> str:
        """
        What the last user message says.
        """
        texts = [tokens.text_of(each.get("content")) for each in self.messages if each["role"] == "user"]
        return texts[-1] if texts else self.text


@dataclass(frozen=True, slots=True)
class Embedding:
    """
    A valid request for embeddings.
    """

    model: str
    inputs: tuple[str, ...]
    prompt_tokens: int
    dimensions: int | None
    is_base64: bool

    @property
    def text(self) -> str:
        """
        All that is to be embedded.
        """
        return "\n".join(self.inputs)

    @property
    def prompt(self) -> str:
        """
        The first of it.
        """
        return self.inputs[0]


def read_chat(body: Json) -> Chat:
    """
    Read a chat request.

    Raises:
        Refused: it is not one.
    """
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        why = "Missing required parameter" if messages is None else "Invalid 'messages': give at least one message"
        raise Refused(f"{why}: 'messages'.", param="messages", code=None if messages else "missing_required_parameter")
    for number, message in enumerate(messages):
        check_message(message, f"messages[{number}]")
    check_tool_messages(messages)
    optional(body, "temperature", float, 0, 2)
    optional(body, "top_p", float, 0, 1)
    is_stream = optional(body, "stream", bool) or False
    options = optional(body, "stream_options", dict) or {}
    if options and not is_stream:
        raise Refused("The 'stream_options' parameter is only allowed when 'stream' is true.", param="stream_options")
    tools = read_tools(body)
    format_, schema = read_format(body, messages)
    limit = optional(body, "max_tokens", int, 1)
    newer_limit = optional(body, "max_completion_tokens", int, 1)
    is_parallel = optional(body, "parallel_tool_calls", bool)
    return Chat(
        model=body["model"],
        messages=messages,
        is_stream=is_stream,
        wants_usage=bool(options.get("include_usage")),
        n=optional(body, "n", int, 1, MOST_CHOICES) or 1,
        stop=read_stop(body),
        max_tokens=limit if newer_limit is None else newer_limit,
        tools=tools,
        tool_choice=read_tool_choice(body, tools),
        is_parallel=is_parallel is not False,
        format=format_,
        schema=schema,
        prompt_tokens=tokens.prompt_tokens(body),
    )


def read_embedding(body: Json) -> Embedding:
    """
    Read a request for embeddings.

    Raises:
        Refused: it is not one.
    """
    given = body.get("input")
    if isinstance(given, str):
        inputs: list[Any] = [given]
    elif isinstance(given, list) and given and all(isinstance(each, int) for each in given):
        inputs = [given]
    elif isinstance(given, list):
        inputs = given
    else:
        raise Refused("Missing required parameter: 'input'.", param="input", code="missing_required_parameter")
    if not 1 <= len(inputs) <= MOST_INPUTS:
        raise Refused(f"Invalid 'input': give 1 to {MOST_INPUTS} texts, not {len(inputs)}.", param="input")
    costs = []
    for each in inputs:
        is_tokens = isinstance(each, list) and all(isinstance(token, int) for token in each)
        if not each or not (isinstance(each, str) or is_tokens):
            raise Refused("'$.input' is invalid: each input is a text, or tokens, and not empty.", param="input")
        costs.append(tokens.count(each) if isinstance(each, str) else len(each))
    encoding = optional(body, "encoding_format", str) or "float"
    if encoding not in {"float", "base64"}:
        raise Refused(f"Invalid value: '{encoding}'. Give 'float' or 'base64'.", param="encoding_format")
    return Embedding(
        model=body["model"],
        inputs=tuple(each if isinstance(each, str) else " ".join(map(str, each)) for each in inputs),
        prompt_tokens=sum(costs),
        dimensions=optional(body, "dimensions", int, 1, 4096),
        is_base64=encoding == "base64",
    )


def optional(body: Json, name: str, kind: type[Any], low: float = -2e9, high: float = 2e9) -> Any:  # Any: of that kind
    """
    Return a field of *kind*, or None if it is not given.
    """
    value = body.get(name)
    if value is None:
        return None
    is_bool = isinstance(value, bool)
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (is_bool and kind is not bool):
        expected = {bool: "a boolean", int: "an integer", float: "a number", str: "a string", dict: "an object"}[kind]
        text = f"Invalid type for '{name}': expected {expected}."
        raise Refused(text, param=name, code="invalid_type")
    if isinstance(value, int | float) and not is_bool and not low <= value <= high:
        raise Refused(
            f"Invalid value for '{name}': expected {low:g} to {high:g}, got {value}.", param=name, code="invalid_value"
        )
    return value


def check_message(message: object, where: str) -> None:
    """
    Refuse what is no message.
    """
    if not isinstance(message, dict):
        raise Refused(f"Invalid type for '{where}': expected an object.", param=where, code="invalid_type")
    role = message.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise Refused(
            f"Invalid value for '{where}.role': {role!r}. Supported values are: {', '.join(sorted(ROLES))}.",
            param=f"{where}.role",
            code="invalid_value",
        )
    content = message.get("content")
    is_parts = isinstance(content, list) and all(isinstance(part, dict) and "type" in part for part in content)
    may_be_null = role == "assistant" and (message.get("tool_calls") or message.get("refusal") is not None)
    if not (isinstance(content, str) or is_parts or (content is None and may_be_null)):
        text = f"Invalid value for '{where}.content': expected a string or an array of parts, got {kind_of(content)}."
        raise Refused(text, param=f"{where}.content", code="invalid_type")
    calls = message.get("tool_calls")
    if calls is not None and not (role == "assistant" and isinstance(calls, list) and all(map(is_tool_call, calls))):
        text = f"Invalid '{where}.tool_calls': an assistant's list of calls, each with id, type and function."
        raise Refused(text, param=f"{where}.tool_calls", code="invalid_type")
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        param = f"{where}.tool_call_id"
        raise Refused(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def kind_of(value: object) -> str:
    """
    Say what JSON calls a value.
    """
    names = {"NoneType": "null", "dict": "an object", "list": "an array", "bool": "a boolean"}
    return names.get(type(value).__name__, "a number")


def is_tool_call(call: object) -> bool:
    """
    Whether it is a complete tool call.
    """
    if not isinstance(call, dict) or not isinstance(call.get("id"), str):
        return False
    function = call.get("function")
    if not isinstance(function, dict):
        return False
    return isinstance(function.get("name"), str) and isinstance(function.get("arguments"), str)


def check_tool_messages(messages: Sequence[Json]) -> None:
    """
    Refuse calls without an answer, and answers without a call.
    """
    waiting: list[str] = []
    for number, message in enumerate(messages):
        where = f"messages.[{number}]"
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                text = "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
                raise Refused(f"Invalid parameter: {text}", param=f"{where}.role")
            waiting.remove(message["tool_call_id"])
            continue
        refuse_unanswered(waiting, where)
        waiting = [call["id"] for call in message.get("tool_calls") or ()]
        if len(set(waiting)) < len(waiting):
            raise Refused(f"Duplicate ids in '{where}.tool_calls'.", param=f"{where}.tool_calls")
    refuse_unanswered(waiting, f"messages.[{len(messages)}]")


def refuse_unanswered(waiting: Sequence[str], where: str) -> None:
    """
    Refuse a message that comes before all calls are answered.
    """
    if waiting:
        text = "An assistant message with 'tool_calls' must be followed by tool messages responding to each"
        missing = f"The following tool_call_ids did not have response messages: {', '.join(waiting)}"
        raise Refused(f"{text} 'tool_call_id'. {missing}", param=f"{where}.role")


def read_stop(body: Json) -> tuple[str, ...]:
    """
    Read where a text is to stop.
    """
    given = body.get("stop")
    stops = [given] if isinstance(given, str) else given or []
    if not isinstance(stops, list) or len(stops) > MOST_STOPS or not all(isinstance(each, str) for each in stops):
        raise Refused(f"Invalid 'stop': give a string, or up to {MOST_STOPS} of them.", param="stop")
    return tuple(each for each in stops if each)


def read_tools(body: Json) -> tuple[Tool, ...]:
    """
    Read what may be called.
    """
    given = body.get("tools")
    if given is None:
        return ()
    if not isinstance(given, list) or not given:
        raise Refused("Invalid 'tools': give an array with at least one tool.", param="tools")
    tools = []
    for number, each in enumerate(given):
        where = f"tools[{number}].function"
        function = each.get("function") if isinstance(each, dict) and each.get("type") == "function" else None
        if not isinstance(function, dict):
            raise Refused(f"Missing required parameter: '{where}'.", param=where, code="missing_required_parameter")
        name, parameters = function.get("name"), function.get("parameters")
        if not isinstance(name, str) or not TOOL_NAME.fullmatch(name):
            text = f"Invalid '{where}.name': string does not match pattern '^[a-zA-Z0-9_-]{{1,64}}$'."
            raise Refused(text, param=f"{where}.name", code="invalid_value")
        if parameters is not None and not isinstance(parameters, dict):
            raise Refused(f"Invalid type for '{where}.parameters': expected an object.", param=f"{where}.parameters")
        tools.append(Tool(name, parameters or {"type": "object", "properties": {}}))
    if len({tool.name for tool in tools}) < len(tools):
        raise Refused("Invalid 'tools': names of functions must be unique.", param="tools")
    return tuple(tools)


def read_tool_choice(body: Json, tools: Sequence[Tool]) -> str | tuple[str, ...]:
    """
    Read which of the tools are to be called.
    """
    given = body.get("tool_choice")
    if given is None:
        return "auto" if tools else "none"
    if not tools:
        raise Refused("'tool_choice' is only allowed when 'tools' are specified.", param="tool_choice")
    if isinstance(given, str):
        if given not in {"none", "auto", "required"}:
            raise Refused(f"Invalid value for 'tool_choice': '{given}'.", param="tool_choice", code="invalid_value")
        return given
    function = given.get("function") if isinstance(given, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if name not in {tool.name for tool in tools}:
        raise Refused(f"Tool choice {name!r} not found in 'tools' parameter.", param="tool_choice")
    return (str(name),)


def read_format(body: Json, messages: Sequence[Json]) -> tuple[str, Json | bool]:
    """
    Read the form of the answer: its name, and its schema.
    """
    given = optional(body, "response_format", dict)
    if given is None or given.get("type") == "text":
        return "text", True
    if given.get("type") == "json_object":
        if not any("json" in tokens.text_of(message.get("content")).lower() for message in messages):
            text = (
                "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
            )
            raise Refused(text, param="messages")
        return "json_object", True
    if given.get("type") != "json_schema":
        text = f"Invalid value for 'response_format.type': {given.get('type')!r}."
        raise Refused(text, param="response_format.type", code="invalid_value")
    described = given.get("json_schema")
    if not isinstance(described, dict) or not isinstance(described.get("name"), str):
        param = "response_format.json_schema"
        raise Refused(f"Missing required parameter: '{param}.name'.", param=param, code="missing_required_parameter")
    schema = described.get("schema", True)
    if not isinstance(schema, dict | bool):
        raise Refused("Invalid schema for response_format: expected an object.", param="response_format")
    return "json_schema", schema
