"""What every model of the configuration is made of, how YAML is read, and how a bad value becomes one line.

Two kinds of model meet here. `Strict` is a pydantic model written by hand. `registered(REGISTRY)` is the type of one
entry of a registry of frozen dataclasses (profiles, policies, updates, networks, probes): `{kind: cyclical, cycles: 2}`
becomes `Cyclical(cycles=2)`; a name alone has the default options. The registry is read when a value is validated, so
what a plugin adds is valid, too.
"""

import dataclasses
import hashlib
import inspect
import json
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, wraps
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator
from pydantic_core import PydanticCustomError, core_schema

from prunebench.errors import InputError, nearest

T = typing.TypeVar("T")


class Strict(BaseModel):
    """Refuses unknown keys and changes after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, arbitrary_types_allowed=True)

    @model_validator(mode="before")
    @classmethod
    def _every_key_is_known(cls, content: Any) -> Any:
        """Before pydantic's own check, whose error does not say which keys are allowed."""
        if type(content) is not dict and not isinstance(content, Mapping):
            return content
        if cls.model_config.get("extra") != "forbid":  # a record of another version
            return content
        fields = cls.__pydantic_fields__
        if not content.keys() <= fields.keys():
            key = next(key for key in content if key not in fields)
            raise PydanticCustomError("unknown_key", "", {"key": key, "hint": nearest(str(key), fields)})
        for key, value in content.items():
            kind = type(value)
            has_truth = kind is bool or (kind is list and bool in map(type, value))  # pydantic would take it for 1 or 0
            if has_truth and "bool" not in str(fields[key].annotation):
                raise PydanticCustomError("truth_value", "", {"key": key})
        return content

    def __eq__(self, other: object) -> bool:
        """Of one class, with equal fields: all that pydantic's own comparison finds here, at a third of its time."""
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def content(self) -> dict[str, Any]:
        """What differs from the defaults, as JSON types: a new optional key changes no content that was there."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def digest(self) -> str:
        """SHA-256 of `content` in hexadecimal."""
        return digest_of(self.content())


def digest_of(content: object) -> str:
    """SHA-256, in hexadecimal, of JSON content: equal content gives equal digests."""
    return hashlib.sha256(_canonical(content).encode()).hexdigest()


_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), check_circular=False).encode


def by_identity(function: Callable[..., T]) -> Callable[..., T]:
    """Like `functools.cache` for frozen arguments by position, but by their identity: equal models may print otherwise.

    Beside the value it keeps the arguments, so that no others ever have their identity. A cache within a model would
    go into its changed copies.
    """
    known: dict[tuple[int, ...], tuple[object, T]] = {}

    @wraps(function)
    def cached(*arguments: object) -> T:
        key = tuple(map(id, arguments))
        entry = known.get(key)
        if entry is None:
            entry = known[key] = arguments, function(*arguments)
        return entry[1]

    return cached


_NO_WORDS = frozenset(("nan", "null", "inf", "infinity", "true", "false"))


def _a_word(name: str) -> str:
    """`name`; InputError for one that a reader of tables takes for a number, a truth value or for no value at all."""
    if name in _NO_WORDS or (name[0].isdigit() and _is_number(name)):
        raise InputError(f"'{name}' is no name: programs that read tables take it for a number or for no value")
    return name


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64), AfterValidator(_a_word)]
"""A name that also serves as a folder of a result's path, and stays text in a table."""

Label = Annotated[str, Field(min_length=1, max_length=200)]
"""A line for people, which stands in tables and figures."""

Share = Annotated[float, Field(ge=0, le=1)]
"""A share, in [0, 1]."""

Positive = Annotated[float, Field(gt=0)]
"""A number above 0."""

Epochs = Annotated[int, Field(ge=1, le=100_000)]
"""A number of epochs."""

M = typing.TypeVar("M", bound=Strict)


def distinct(values: list[T]) -> list[T]:
    """`values`; raises InputError where one comes twice."""
    for value in values:
        if values.count(value) > 1:
            raise InputError(f"holds {value} twice")
    return values


Names = Annotated[list[Name], AfterValidator(distinct)]
"""Names, each once."""


def known(key: str, name: str, names: Iterable[str]) -> None:
    """Raises InputError where `key` names something that is not among `names`."""
    if name not in names:
        raise InputError(f"{key} names '{name}', which is not defined: {nearest(name, names)}")


# --- Entries of registries


def registered(registry: Mapping[str, type], what: str) -> Any:
    """The pydantic type of an entry of `registry`, name -> frozen dataclass; `what` names it in messages."""
    return Annotated[Any, _Registered(registry, what)]


def registered_name(registry: Mapping[str, Any], what: str) -> Any:
    """The pydantic type of the name of an entry of `registry`, such as a criterion."""

    def check(name: str) -> str:
        if name not in registry:
            raise InputError(f"unknown {what} '{name}': {nearest(name, registry)}")
        return name

    return Annotated[
        str, AfterValidator(check), Field(json_schema_extra=lambda schema: schema.update(enum=[*registry]))
    ]


def kind_of(registry: Mapping[str, type], entry: object) -> str:
    """The name under which the class of `entry` is registered."""
    return next(name for name, cls in registry.items() if cls is type(entry))


@by_identity
def _options(entry: Any) -> dict[str, Any]:
    """Fields of a registered dataclass that differ from their defaults."""
    shown = {}
    for field in dataclasses.fields(entry):
        value = getattr(entry, field.name)
        default = field.default_factory() if callable(field.default_factory) else field.default
        if value != default:
            shown[field.name] = list(value) if isinstance(value, tuple) else value
    return shown


@dataclasses.dataclass(frozen=True, eq=False)
class _Registered:
    registry: Mapping[str, type]
    what: str

    def validate(self, value: Any) -> Any:
        if type(value) in self.registry.values():
            return value
        if isinstance(value, str):
            value = {"kind": value}
        if not isinstance(value, Mapping) or "kind" not in value:
            raise InputError(f"a {self.what} needs 'kind', one of {', '.join(self.registry)}; found {value!r:.80}")
        kind = value["kind"]
        if not isinstance(kind, str) or kind not in self.registry:
            raise InputError(f"unknown {self.what} '{kind}': {nearest(str(kind), self.registry)}")
        cls = self.registry[kind]
        try:
            settings = twin(cls, kind).model_validate(value)
        except ValidationError as error:
            raise InputError(explain(error)) from None
        return cls(**{name: field for name, field in settings if name != "kind"})

    def dump(self, entry: Any) -> dict[str, Any]:
        return {"kind": kind_of(self.registry, entry), **_options(entry)}

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        serialization = core_schema.plain_serializer_function_ser_schema(self.dump)
        return core_schema.no_info_plain_validator_function(self.validate, serialization=serialization)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        kinds = [handler(twin(cls, kind).__pydantic_core_schema__) for kind, cls in self.registry.items()]
        return {"oneOf": [*kinds, {"enum": [*self.registry]}]}


class _Twin(Strict):
    model_config = ConfigDict(use_attribute_docstrings=False)  # pydantic would look for the source of each, in vain


@cache
def twin(cls: type, kind: str) -> type[Strict]:
    """The pydantic model of a dataclass's fields: they appear in the schema without being written twice."""
    hints = typing.get_type_hints(cls, include_extras=True)
    fields: dict[str, Any] = {"kind": (Literal[kind], ...)}
    for field in dataclasses.fields(cls):
        default = ... if field.default is dataclasses.MISSING else field.default
        if field.default_factory is not dataclasses.MISSING:
            default = Field(default_factory=field.default_factory)
        fields[field.name] = (hints[field.name], default)
    doc = " ".join((inspect.getdoc(cls) or "").split())
    return create_model(f"{cls.__name__}Config", __base__=_Twin, __doc__=doc, **fields)


# --- YAML

MOST_ENTRIES = 1_000_000
"""Entries and letters of a YAML text with its aliases written out. The longest preset has a fiftieth of them."""

MOST_LEVELS = 40
"""Levels of mappings and lists in each other."""


class _Loader(yaml.SafeLoader):
    """YAML without its traps: of a key that comes twice the last would win; `on` and `1` are keys that are no text."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Before `<<` is carried out, for what it brings in may come again: that is what it is for."""
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or key.tag not in _KEYS:
                shown = f"the key '{key.value}'" if isinstance(key, yaml.ScalarNode) else "a key"
                raise InputError(f"line {line}: {shown} is no text: choose a word, or put it in quotes")
            if key.value in lines:
                raise InputError(f"line {line}: the key '{key.value}' is there twice, first in line {lines[key.value]}")
            lines[key.value] = line
        super().flatten_mapping(node)
        # An alias of a mapping that merges is merged again: without this its keys would double with every level.
        node.value = list({key.value: (key, value) for key, value in node.value}.values())


_KEYS = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge", "tag:yaml.org,2002:value")


def parse_yaml(text: str) -> Any:
    """The content of a YAML text, which may come from anyone.

    Raises InputError for what is no YAML, for a key that comes twice or is no text, for content that is nested deeper
    than `MOST_LEVELS` or, with its aliases written out, has more than `MOST_ENTRIES`, and for characters that steer a
    terminal and numbers that fit no table.
    """
    try:
        content = yaml.load(text, _Loader)  # a SafeLoader
    except InputError:
        raise
    except RecursionError:
        raise InputError(f"is nested deeper than {MOST_LEVELS} levels") from None
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"is not YAML: {' '.join(str(error).split())}".replace('"<unicode string>", ', "")) from None
    _check_content(content)
    return content


def _check_content(content: object) -> None:
    size, waiting = 0, [((), content)]  # type: tuple[int, list[tuple[tuple[object, ...], object]]]
    while waiting:
        place, value = waiting.pop()
        inner: Iterable[tuple[object, object]] = ()
        if isinstance(value, Mapping):
            inner = value.items()
        elif isinstance(value, list | tuple | set):
            inner = enumerate(value)
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise InputError(f"{_shown(place)} is a number of more than 64 bits")
        else:
            _check_text(place, str(value))
        below = [((*place, name), each) for name, each in inner]
        for name, _ in below:
            _check_text(place, str(name[-1]))
        size += len(below) + (len(value) if isinstance(value, str | bytes) else 0)
        if len(place) > MOST_LEVELS:
            raise InputError(f"{_shown(place)} is nested deeper than {MOST_LEVELS} levels")
        if size > MOST_ENTRIES:
            raise InputError(f"with its aliases written out it has more than {MOST_ENTRIES:,} entries and letters")
        waiting += below


def _check_text(place: tuple[object, ...], text: str) -> None:
    if text.isprintable():
        return
    bad = next((letter for letter in text if not letter.isprintable() and letter not in "\t\n"), None)
    if bad:
        raise InputError(f"{_shown(place)} has the character {bad!a}, which cannot be printed")


def _shown(place: tuple[object, ...]) -> str:
    return f"'{'.'.join(map(str, place)):.80}'" if place else "the file"


# --- Messages


def parse(model: type[M], content: object, where: str) -> M:
    """`content` as a `model`; raises InputError whose one line names the first bad key and what is allowed."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise InputError(" ".join(f"{where}: {explain(error)}".split())) from None


def explain(error: ValidationError) -> str:
    """A fault of a validation as one line: the first unknown key, with the nearest one that is known, or the first."""
    faults = error.errors(include_url=False)
    fault = next((f for f in faults if f["type"] == "unknown_key"), faults[0])
    location = fault["loc"]
    if not location and fault["type"] in ("model_type", "dict_type"):
        return f"must hold a mapping of keys to values, found {fault['input']!r:.80}"
    key = ".".join(str(part) for part in location).removesuffix(".[key]")  # a name, where a mapping is of names
    if fault["type"] == "unknown_key":
        return f"unknown key '{'.'.join(map(str, (*location, fault['ctx']['key'])))}': {fault['ctx']['hint']}"
    if fault["type"] == "truth_value":
        return f"'{'.'.join(map(str, (*location, fault['ctx']['key'])))}' is yes or no, true or false: not allowed here"
    if fault["type"] == "value_error":
        return f"{key}: {fault['ctx']['error']}" if key else str(fault["ctx"]["error"])
    found = fault["input"]
    if fault["type"] in ("literal_error", "union_tag_invalid"):
        context = fault["ctx"]
        allowed = str(context.get("expected", context.get("expected_tags"))).replace(" or ", ", ")
        names = [name.strip(" '") for name in allowed.split(",")]
        value = context.get("tag", found)
        return f"'{key}' is '{value}': {nearest(str(value), names)}"
    shown = "" if fault["type"] == "missing" else f", found {found!r:.80}"
    return f"'{key}': {fault['msg'][0].lower()}{fault['msg'][1:]}{shown}"


def flatten(value: object, key: str = "") -> Iterator[tuple[str, object]]:
    """Keys of nested mappings, joined by dots, with their values; items of a list of mappings by their place."""
    if isinstance(value, dict) and (value or not key):
        for name, inner in value.items():
            yield from flatten(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for place, inner in enumerate(value):
            yield from flatten(inner, f"{key}[{place}]")
    else:
        yield key, value
