"""
Checks against a JSON schema that came as a dict: the caller's own, or that of a foreign tool.

The one file that knows jsonschema; it is imported when the first such tool is made.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError, best_match
from jsonschema.validators import extend, validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from antichain.agents.tools.checking import Checked, Found
from antichain.agents.tools.faults import MAX_FAULTS
from antichain.errors import Fault, GraphError, shown

__all__ = ["GivenChecker"]

# In this file, Any is JSON, or a value of the arguments.

# What else may say which names there are, so that `properties` does not have them all.
COMPOSED = ("$ref", "allOf", "anyOf", "oneOf", "patternProperties", "if", "dependentSchemas")


class GivenChecker:
    """
    Check arguments against a JSON schema, and pass them on as they are.

    Names that are not among its `properties` are refused unless it says `additionalProperties`.
    """

    schema: dict[str, Any]
    takes_more: bool

    def __init__(self, name: str, schema: Mapping[str, Any]) -> None:
        self.schema = copy.deepcopy(dict(schema))
        kind = _with_tuples(validator_for(self.schema, default=Draft202012Validator))
        try:
            kind.check_schema(self.schema)
        except SchemaError as error:
            at = "".join(f"[{key!r}]" for key in error.absolute_path)
            text = f"the JSON schema of tool {name!r} is none: schema{at}: {error.message}."
            raise GraphError(Fault("bad-tool", text), name) from error
        if self.schema.setdefault("type", "object") != "object":
            text = f"the JSON schema of tool {name!r} has type {shown(self.schema['type'])}: arguments are an object."
            raise GraphError(Fault("bad-tool", text), name)
        more = self.schema.get("additionalProperties", any(word in self.schema for word in COMPOSED))
        self.takes_more = more is not False or "properties" not in self.schema
        # A registry of its own: a reference to the outside is not followed into the network.
        self._validator = kind(self.schema, registry=Registry())

    def check(self, arguments: Mapping[str, Any], foreign: Collection[str]) -> Checked:
        """
        Check *arguments*; tuples count as lists.
        """
        given = dict(arguments)
        try:
            faults = list(islice(self._faults(given), MAX_FAULTS))
        except (RecursionError, Unresolvable) as error:
            faults = [Found((), f"could not be checked: {type(error).__name__}: {error}")]
        return Checked({} if faults else given, faults)

    def _faults(self, given: dict[str, Any]) -> Iterator[Found]:
        missing: set[tuple[object, ...]] = set()
        for error in self._validator.iter_errors(given):
            error = _innermost(error)
            keys = tuple(error.absolute_path)
            if error.validator != "required":
                yield Found(keys, _problem(error), error.instance)
                continue
            required: Any = error.validator_value
            instance: Any = error.instance
            for name in required:
                if name not in instance and (*keys, name) not in missing:
                    missing.add((*keys, name))
                    yield Found((*keys, name), "is missing", is_missing=True)


def _with_tuples(kind: Any) -> Any:
    array = kind.TYPE_CHECKER.redefine("array", lambda _, value: isinstance(value, (list, tuple)))
    return extend(kind, type_checker=array)


def _innermost(error: ValidationError) -> ValidationError:
    """
    Of what is said by the parts of an anyOf or oneOf, take the part that fits best.
    """
    if error.validator in ("anyOf", "oneOf") and error.context:
        best = best_match([error])
        return error if best is None or len(best.absolute_path) <= len(error.absolute_path) else best
    return error


def _problem(error: ValidationError) -> str:
    value: Any = error.validator_value
    match error.validator:
        case "type":
            return f"should be {_either(value)}"
        case "enum":
            return f"should be one of {', '.join(map(shown, value[:20]))}"
        case "const":
            return f"should be {shown(value)}"
        case "anyOf" | "oneOf":
            return "fits none of the forms that are allowed here"
        case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf":
            return f"breaks {error.validator}: {value}"
        case "minLength" | "maxLength" | "minItems" | "maxItems" | "pattern" | "format":
            return f"breaks {error.validator}: {value}"
        case "additionalProperties" | "unevaluatedProperties":
            return f"has fields that are not allowed here: {_unknown(error)}"
        case _:
            return f"breaks {error.validator}"


def _either(kinds: str | list[str]) -> str:
    return f"of type {kinds}" if isinstance(kinds, str) else f"of type {' or '.join(kinds)}"


def _unknown(error: ValidationError) -> str:
    schema: Any = error.schema
    instance: Any = error.instance
    known = schema.get("properties", {})
    return ", ".join([shown(name) for name in instance if name not in known][:5])
