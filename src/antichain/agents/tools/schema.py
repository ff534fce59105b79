"""
Schemas and checks made by pydantic: of a function's parameters, and of a pydantic model.

The one file that knows pydantic; it is imported when the first such tool is made.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any, Never, NotRequired

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind
from pydantic_core import PydanticSerializationError, to_jsonable_python
from typing_extensions import TypedDict

from antichain.agents.tools.checking import Checked, Found
from antichain.agents.tools.faults import MAX_FAULTS
from antichain.agents.tools.parameters import Parameter, Taken
from antichain.agents.tools.typed_dicts import with_known_typed_dicts
from antichain.errors import Fault, GraphError
from antichain.runnable import EMPTY

__all__ = ["ModelChecker", "ParametersChecker", "is_model"]

# In this file, Any is an annotation, JSON, or a value of the user's types.

# Where `**kwargs` are kept while they are checked; no parameter can have this name.
MORE = "**"
# Items of a list, or of an object, that are checked again when the whole has too many faults to name.
SAMPLE = 20


class ParametersChecker:
    """
    Check arguments against the annotations of a function's parameters.

    What a model wrote is checked strictly, by the rules of JSON: "3" is no number. Values that are Python objects,
    which only another tool can have given, are checked by pydantic's ordinary rules.
    """

    schema: dict[str, Any]
    takes_more: bool

    def __init__(self, name: str, taken: Taken) -> None:
        self.takes_more = taken.takes_more
        # Parameters that take anything: their values are passed on as they are, whatever they are.
        self._free = {each.name for each in taken.parameters if _takes_anything(each)}
        fields = {each.name: _field(each) for each in taken.parameters}
        if taken.takes_more:
            fields[MORE] = NotRequired[dict[str, _type(taken.more)]]  # type: ignore[misc]  # an annotation is a value
        self._adapter, schema = _adapter(name, fields)
        self.schema = _with_more(schema) if taken.takes_more else schema

    def check(self, arguments: Mapping[str, Any], foreign: Collection[str]) -> Checked:
        """
        Check *arguments* by name.
        """
        known = self.schema.get("properties", {})
        named = {name: value for name, value in arguments.items() if name in known}
        more = {name: value for name, value in arguments.items() if name not in known}
        held = {name: value for name, value in named.items() if name not in self._free}
        asked = {name: None for name in named if name in self._free} | held | ({MORE: more} if more else {})
        values, faults = _validated(self._adapter, asked, self._free.issuperset(foreign))
        if faults:
            return Checked({}, [_without_more(fault) for fault in faults])
        values.update({name: value for name, value in named.items() if name in self._free})
        return Checked({**values.pop(MORE, {}), **values}, [])


class ModelChecker:
    """
    Check arguments against a pydantic model, and pass them on as they were given: its owner reads them itself.
    """

    schema: dict[str, Any]
    takes_more: bool

    def __init__(self, name: str, model: type[BaseModel]) -> None:
        self.takes_more = model.model_config.get("extra") == "allow"
        self._adapter, self.schema = TypeAdapter(model), _tidy(_schema(name, TypeAdapter(model)))

    def check(self, arguments: Mapping[str, Any], foreign: Collection[str]) -> Checked:
        """
        Check *arguments* by the names of the model's fields.
        """
        return Checked(dict(arguments), _validated(self._adapter, dict(arguments), not foreign)[1])


def is_model(schema: object) -> bool:
    """
    Say whether *schema* is a pydantic model.
    """
    return isinstance(schema, type) and issubclass(schema, BaseModel)


# -- from parameters to a schema


class Generator(GenerateJsonSchema):
    """
    Make schemas without titles that only repeat the names, and without warnings about defaults that JSON cannot hold.
    """

    ignored_warning_kinds: set[JsonSchemaWarningKind] = {"skipped-choice", "non-serializable-default"}

    def field_title_should_be_set(self, schema: object) -> bool:
        """
        Set no title.
        """
        return False

    def dataclass_schema(self, schema: Any) -> dict[str, Any]:
        """
        Say that a dataclass refuses other names, which pydantic before 2.13 leaves out.
        """
        made = super().dataclass_schema(schema)
        if schema.get("config", {}).get("extra_fields_behavior") == "forbid":
            made.setdefault("additionalProperties", False)
        return made


def _field(parameter: Parameter) -> Any:
    """
    Make the annotation of a TypedDict's field: it may have any name, and is left out where nothing is given.
    """
    annotation, default = _type(parameter.annotation), parameter.default
    said = _description_in(annotation) or parameter.description
    extra: dict[str, Any] = {}
    if isinstance(default, FieldInfo):  # `limit: int = Field(5, ge=1)`
        annotation = Annotated[annotation, default]
        if default.is_required():
            default = EMPTY
    elif default is not EMPTY:
        extra = _shown_default(default)
    if said and not _has_description(annotation):
        annotation = Annotated[annotation, Field(description=said)]
    if extra:
        annotation = Annotated[annotation, Field(json_schema_extra=extra)]
    return annotation if default is EMPTY and not _has_default(annotation) else NotRequired[annotation]


def _takes_anything(parameter: Parameter) -> bool:
    return parameter.annotation in (EMPTY, Any, object) and not isinstance(parameter.default, FieldInfo)


def _type(annotation: Any) -> Any:
    return Any if annotation is EMPTY else with_known_typed_dicts(annotation)


def _metadata(annotation: Any) -> tuple[Any, ...]:
    return getattr(annotation, "__metadata__", ())


def _description_in(annotation: Any) -> str:
    """
    Find `Annotated[int, "text"]` and `Annotated[int, Doc("text")]`, which pydantic does not know.
    """
    for part in _metadata(annotation):
        text = part if isinstance(part, str) else getattr(part, "documentation", None)
        if isinstance(text, str):
            return text
    return ""


def _has_description(annotation: Any) -> bool:
    return any(isinstance(part, FieldInfo) and part.description for part in _metadata(annotation))


def _has_default(annotation: Any) -> bool:
    return any(isinstance(part, FieldInfo) and not part.is_required() for part in _metadata(annotation))


def _shown_default(default: object) -> dict[str, Any]:
    try:
        shown_default = to_jsonable_python(default)
        json.dumps(shown_default, allow_nan=False)
    except (PydanticSerializationError, ValueError, TypeError, RecursionError):
        return {}  # the function knows it; a model has no use for what JSON cannot hold
    return {"default": shown_default}


def _adapter(name: str, fields: dict[str, Any]) -> tuple[TypeAdapter[Any], dict[str, Any]]:
    try:
        adapter = _adapter_of(fields)
        schema = _schema(name, adapter)
    except PydanticUserError as error:
        _refuse(name, fields, error)
    return adapter, _tidy(schema)


def _adapter_of(fields: dict[str, Any]) -> TypeAdapter[Any]:
    make: Any = TypedDict  # its fields are known at run time only
    arguments = make("arguments", fields)
    # Dataclasses and TypedDicts inside take this over, pydantic models have their own.
    arguments.__pydantic_config__ = ConfigDict(extra="forbid")
    return TypeAdapter(arguments)


def _schema(name: str, adapter: TypeAdapter[Any]) -> dict[str, Any]:
    return adapter.json_schema(schema_generator=Generator)


def _refuse(name: str, fields: dict[str, Any], error: PydanticUserError) -> Never:
    """
    Say which parameters no schema can be made of: each is tried alone.
    """
    faults = []
    for parameter, annotation in fields.items():
        try:
            _schema(name, _adapter_of({parameter: annotation}))
        except PydanticUserError as alone:
            what = f"parameter {parameter!r} of tool {name!r} has a type of which no JSON schema can be made"
            fix = "Leave it out of the signature (functools.partial), annotate it as what a model can write,"
            text = f"{what}: {_first_line(alone)}. {fix} or give parameters=."
            faults.append(Fault("bad-tool", text))
    raise GraphError(faults or Fault("bad-tool", f"tool {name!r}: {_first_line(error)}"), name) from error


def _first_line(error: PydanticUserError) -> str:
    return str(error).partition("\n")[0].rstrip(".")


def _tidy(schema: dict[str, Any]) -> dict[str, Any]:
    schema.pop("title", None)
    for name, definition in schema.get("$defs", {}).items():
        if definition.get("title") == name:
            del definition["title"]
    schema.setdefault("properties", {})
    return schema


def _with_more(schema: dict[str, Any]) -> dict[str, Any]:
    more = schema["properties"].pop(MORE)
    return {**schema, "additionalProperties": more.get("additionalProperties", True)}


def _without_more(fault: Found) -> Found:
    return fault._replace(keys=fault.keys[1:]) if fault.keys[:1] == (MORE,) else fault


# -- from pydantic's errors to faults


def _validated(adapter: TypeAdapter[Any], asked: dict[str, Any], is_plain: bool) -> tuple[Any, list[Found]]:
    try:
        return _validate(adapter, asked, is_plain), []
    except ValidationError as error:
        if error.error_count() <= MAX_FAULTS:
            return {}, _found(error, asked)
        return {}, [*_sampled(adapter, asked, is_plain), _rest(error.error_count())]
    except Exception as error:  # noqa: BLE001  # a validator is foreign code, run on what a model wrote
        return {}, [Found((), f"could not be checked: {type(error).__name__}: {error}")]


def _validate(adapter: TypeAdapter[Any], asked: dict[str, Any], is_plain: bool) -> Any:
    if is_plain:
        # By way of a text, since pydantic has JSON's rules (lists for tuples, texts for dates) for texts only.
        return adapter.validate_json(json.dumps(asked), strict=True)
    return adapter.validate_python(asked)


def _rest(count: int) -> Found:
    return Found((), f"has {count} faults in all: only the first are named")


def _sampled(adapter: TypeAdapter[Any], asked: dict[str, Any], is_plain: bool) -> list[Found]:
    """
    Find the first of very many faults, by a look at the first items of everything.
    """
    cut = {name: _cut(value) for name, value in asked.items()}
    try:
        _validate(adapter, cut, is_plain)
    except ValidationError as error:
        found = _found(error, cut) if error.error_count() <= 100 * MAX_FAULTS else []
        return [fault for fault in found if not _is_of_cut(fault.keys, cut, asked)][:MAX_FAULTS]
    return []


def _is_of_cut(keys: tuple[object, ...], cut: Any, asked: Any) -> bool:
    """
    Say whether a fault may be one of the cut only: of a list that was shortened, of a field that was left out.
    """
    for key in keys:
        if not _has(cut, key):
            return _has(asked, key)
        cut, asked = cut[key], asked[key]
    return type(cut) in (list, dict) and len(cut) < len(asked)


def _cut(value: Any) -> Any:
    if type(value) is list:
        return [_cut(part) for part in value[:SAMPLE]]
    if type(value) is dict:
        return {key: _cut(part) for key, part in list(value.items())[:SAMPLE]}
    return value


def _found(error: ValidationError, asked: Any) -> list[Found]:
    found: dict[tuple[object, ...], Found] = {}
    for line in error.errors(include_url=False, include_context=False):
        is_missing = line["type"] in ("missing", "missing_argument", "missing_keyword_only_argument")
        keys = _keys(line["loc"], asked, is_missing)
        fault = Found(keys, _problem(line["type"], line["msg"]), EMPTY if is_missing else line["input"], is_missing)
        before = found.get(keys)
        if before is None:
            found[keys] = fault
        elif fault.problem not in before.problem.split("; or "):  # what the parts of a union say
            found[keys] = before._replace(problem=f"{before.problem}; or {fault.problem}", given=fault.given)
    return list(found.values())


def _keys(location: Iterable[int | str], asked: Any, is_missing: bool) -> tuple[object, ...]:
    """
    Leave out of pydantic's location what is no key of the arguments: the names of a union's parts, of validators.
    """
    keys: list[object] = []
    *path, last = location or ("",)
    at = asked
    for key in path:
        if _has(at, key):
            at = at[key]
            keys.append(key)
    if is_missing or _has(at, last):
        keys.append(last)
    return tuple(keys)


def _has(at: Any, key: object) -> bool:
    if isinstance(at, Mapping):
        return key in at
    return isinstance(at, (list, tuple)) and isinstance(key, int) and 0 <= key < len(at)


def _problem(kind: str, message: str) -> str:
    if kind in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return "is missing"
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return "is not a field here"
    return message.replace("Input should", "should", 1).replace("Value error, ", "", 1)
