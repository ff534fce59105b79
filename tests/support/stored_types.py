"""
Classes of users, for values that are stored: at module level, where annotations find each other.
"""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypedDict, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, RootModel, field_validator

T = TypeVar("T")


class Color(enum.Enum):
    RED = "red"
    BLUE = ("blue", 2)


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Word(enum.StrEnum):
    YES = "yes"


@dataclass
class Row:
    name: str
    score: float | None = None
    color: Color = Color.RED
    tags: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Key:
    x: int
    size: Size = Size.SMALL


@dataclass(frozen=True)
class Tree:
    """Names itself, and others by texts."""

    row: Row
    children: list[Tree] = field(default_factory=list)
    by_key: dict[Key, Row] = field(default_factory=dict)


@dataclass
class Made:
    """A field that nobody gives, one that may be missing, and a check that must not run twice."""

    number: int
    doubled: int = field(init=False)
    note: str = field(init=False)

    def __post_init__(self) -> None:
        self.number += 1
        self.doubled = 2 * self.number

    @functools.cached_property
    def text(self) -> str:
        return str(self.number)


@dataclass
class Shape:
    name: str


@dataclass
class Circle(Shape):
    radius: float


@dataclass
class Square(Shape):
    side: float


@dataclass
class Box(Generic[T]):
    content: T
    others: list[T] = field(default_factory=list)


@dataclass
class RowBox(Box[Row]):
    label: str = ""


class Point(NamedTuple):
    x: float
    y: float = 0.0
    row: Row | None = None


class Options(TypedDict, total=False):
    row: Row
    points: list[Point]


class Part(BaseModel):
    name: str
    when: datetime | None = None
    color: Color = Color.RED


class Whole(BaseModel):
    model_config = ConfigDict(extra="allow")

    parts: list[Part] = []
    by_alias: int = Field(default=0, alias="byAlias")
    either: Row | Part | None = None
    numbers: list[int] = []
    other: float = 0.0
    _seen: int = PrivateAttr(default=0)


class Parts(RootModel[list[Part]]):
    pass


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, use_enum_values=True)

    pair: tuple[int, bytes]
    size: Size = Size.LARGE


class Growing(BaseModel):
    """Its validator does something every time."""

    price: int

    @field_validator("price")
    @classmethod
    def more(cls, value: int) -> int:
        return value + 1


class Meters:
    """A class of its own, which no table knows."""

    def __init__(self, length: Any) -> None:
        self.length = length

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Meters) and self.length == other.length

    def __hash__(self) -> int:
        return hash(self.length)
