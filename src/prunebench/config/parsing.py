"""What every model of the configuration is made of, and how a bad value becomes one line."""

import typing
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from prunebench.errors import InputError, nearest


class Strict(BaseModel):
    """Refuses unknown keys and changes after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64)]
"""A name that also serves as a folder of a result's path."""

T = typing.TypeVar("T")
M = typing.TypeVar("M", bound=Strict)


def distinct(values: list[T]) -> list[T]:
    """`values`; raises InputError where one comes twice."""
    for value in values:
        if values.count(value) > 1:
            raise InputError(f"holds {value} twice")
    return values


Names = Annotated[list[Name], AfterValidator(distinct)]
"""Names, each once."""


def parse(model: type[M], content: object, where: str) -> M:
    """`content` as a `model`; raises InputError whose one line names the first bad key and what is allowed."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise InputError(" ".join(f"{where}: {_explain(error, model)}".split())) from None


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first fault of a validation as one line; an unknown key comes with the nearest key of its model."""
    faults = error.errors(include_url=False)
    fault = next((f for f in faults if f["type"] == "extra_forbidden"), faults[0])
    location = fault["loc"]
    if not location and fault["type"] in ("model_type", "dict_type"):
        return f"must hold a mapping of keys to values, found {fault['input']!r:.80}"
    key = ".".join(str(part) for part in location)
    if fault["type"] == "extra_forbidden":
        return f"unknown key '{key}': {nearest(str(location[-1]), _siblings(model, location))}"
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


def _siblings(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The keys that the model at `location` knows, found by walking the annotations along the location."""
    candidates: list[Any] = [model]
    for part in location[:-1]:
        found: list[Any] = []
        for candidate in candidates:
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                if part in candidate.model_fields:
                    found += _models_in(candidate.model_fields[str(part)].annotation)
                else:
                    found.append(candidate)  # a dict key, a list index or a union's tag: not a field
        if isinstance(part, str) and any(_tag(c) == part for c in found):
            found = [c for c in found if _tag(c) == part]
        candidates = found
    return sorted({name for c in candidates if hasattr(c, "model_fields") for name in c.model_fields})


def _tag(model: Any) -> str | None:
    kind = getattr(model, "model_fields", {}).get("kind")
    values = typing.get_args(kind.annotation) if kind else ()
    return values[0] if len(values) == 1 else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in _models_in(part)]
