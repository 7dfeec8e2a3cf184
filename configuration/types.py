"""Building blocks of the configuration's groups: the base class, rules between fields, and the kinds of text."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError
from pydantic_core.core_schema import no_info_after_validator_function

from metrics.table import METRICS
from preprocessors.text.prompts import DEFAULT_PROMPT
from utils.plugins import is_plugin

PLUGIN_PATTERN = r"^[\w.]+:[\w.]+$"
"""What the name of a user's own code looks like, for :func:`utils.plugins.load_plugin`."""
ENVIRONMENT_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def expand_variables(text: str) -> str:
    """Replaces ``${NAME}`` and ``${NAME:-default}`` by environment variables, and a leading ``~`` by the home folder.

    Raises:
        ValueError: If a variable without a default is unset or empty.
    """

    def value_of(match: re.Match[str]) -> str:
        name, default = match.groups()
        value = os.environ.get(name) or default
        if value is None:
            raise ValueError(f"the environment variable {name} is not set; set it or write ${{{name}:-default}}")
        return value

    return os.path.expanduser(ENVIRONMENT_VARIABLE.sub(value_of, text))


def _to_path(value: Any) -> Path:
    if not isinstance(value, str | Path):
        raise ValueError("must be a string with a path")
    if not str(value).strip():
        raise ValueError("must not be empty")
    return Path(expand_variables(str(value)))


def _check_prompt(prompt: str) -> str:
    if prompt.count("{}") != 1 or set("{}") & set(prompt.replace("{}", "")):
        raise ValueError("must contain {} exactly once, where the style goes, and no other brace")
    return prompt


def _check_not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


class OneOf:
    """A check that lets the names of a table pass and tells of any other the nearest one; the schema lists them.

    Args:
        names: Those that there are.
        what: What they name, for the message about any other.
        or_nothing: Let "" pass as well.
        load: Loads a user's own, which is named ``package.module:name``; None = there are none. It raises a ValueError
            for one that cannot be used.
    """

    def __init__(
        self,
        names: Collection[str],
        what: str,
        *,
        or_nothing: bool = False,
        load: Callable[[str], object] | None = None,
    ) -> None:
        self.names, self.what, self.or_nothing, self.load = names, what, or_nothing, load

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        known = handler(schema) | {"enum": list(self.names)}
        return known if self.load is None else {"anyOf": [known, {"type": "string", "pattern": PLUGIN_PATTERN}]}

    def _check(self, name: str) -> str:
        if self.load is not None and is_plugin(name):
            self.load(name)
        elif name not in self.names and (name or not self.or_nothing):
            spellings = {known.lower(): known for known in self.names}
            nearest = get_close_matches(name.lower(), spellings, n=1)
            hint = f"did you mean {spellings[nearest[0]]}? " if nearest else ""
            raise ValueError(f"unknown {self.what}; {hint}known: {', '.join(self.names)}")
        return name


def _check_rows(value: Any) -> int | str:
    """One check for both kinds: a union of types would tell a fault of each."""
    if value == "auto" or (type(value) is int and value >= 1):
        return cast(int | str, value)
    raise ValueError('must be a whole number of at least 1, or "auto"')


MetricName = Annotated[str, OneOf(METRICS, "metric")]
ConfigPath = Annotated[Path, PlainValidator(_to_path, json_schema_input_type=Path)]
Name = Annotated[str, AfterValidator(_check_not_blank)]
NameOrFolder = Annotated[str, AfterValidator(_check_not_blank), AfterValidator(expand_variables)]
Prompt = Annotated[
    str,
    BeforeValidator(lambda value: DEFAULT_PROMPT if value in (None, "") else value, json_schema_input_type=str | None),
    AfterValidator(_check_prompt),
]
Names = Annotated[list[Name], Field(min_length=1)]
RowsOrAuto = Annotated[
    int | Literal["auto"],
    PlainValidator(_check_rows, json_schema_input_type=Annotated[int, Field(ge=1)] | Literal["auto"]),
]


class Relation(NamedTuple):
    """A rule between fields of one group, or between groups."""

    keys: tuple[str, ...]
    """The fields it reads, dotted between groups; the first is the one that a fault is reported for."""
    holds: Callable[[Any], bool]
    """Takes the group; True if the rule is kept."""
    message: str
    """What is wrong and what to do if it is not kept; ``{field}`` stands for the field's value."""

    def describe(self, group: BaseModel) -> str:
        """The message for a group that breaks the rule."""
        return self.message.format(**vars(group))


class Group(BaseModel):
    """Base of all groups: frozen, unknown keys refused, types taken strictly (``"3"`` and ``true`` are no integers)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)
    RELATIONS: ClassVar[tuple[Relation, ...]] = ()

    @model_validator(mode="after")
    def _keep_relations(self) -> Self:
        broken = [f"{rule.keys[0]}: {rule.describe(self)}" for rule in self.RELATIONS if not rule.holds(self)]
        if broken:
            raise PydanticCustomError("relation", "{broken}", {"broken": "; ".join(broken)})
        return self
