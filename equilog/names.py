"""Names that users type: the nearest valid one when they miss, and configuration that refuses unknown keys."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

M = TypeVar("M", bound=BaseModel)


class UserError(Exception):
    """A mistake that the message explains and the user can mend; the CLI prints it without a traceback.

    Attributes:
        mistakes: where there are several, each on its own.
    """

    def __init__(self, message: str, mistakes: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.mistakes = tuple(mistakes) or (message,)


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the closest valid name, or an empty string."""
    close = difflib.get_close_matches(str(name), list(valid), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def unknown(kind: str, name: str, valid: Iterable[str]) -> UserError:
    """Return the error for an unknown `kind` (task, preset, key), naming the nearest and all valid ones."""
    names = sorted(valid)
    return UserError(f"unknown {kind} {name!r}{nearest(name, names)}; expected one of: {', '.join(names)}")


class Strict(BaseModel):
    """Base of all configuration: immutable, unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def parse(model: type[M], data: Any, where: str) -> M:
    """Validate `data` as `model`; every mistake is named with its place, and unknown keys with the nearest.

    Raises:
        UserError: listing all mistakes found in `where` (a file name or a phrase).
    """
    if not isinstance(data, dict):
        raise UserError(f"{where}: expected a mapping of keys to values, got {type(data).__name__}")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        lines = []
        for item in error.errors():
            path = ".".join(str(part) for part in item["loc"])
            if item["type"] == "extra_forbidden":
                keys = _keys_at(model, item["loc"][:-1])
                lines.append(f"unknown key {path!r}{nearest(str(item['loc'][-1]), keys)}")
            else:
                got = "" if item["type"] == "missing" else f", got {item['input']!r}"
                lines.append(f"{path}: {item['msg'].removeprefix('Value error, ')}{got}")
        raise UserError(f"{where}: " + "; ".join(lines), lines) from None


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with `over` laid over it, key by key in nested mappings."""
    result = dict(base)
    for key, value in over.items():
        inner = result.get(key)
        result[key] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return result


class _UniqueKeys(yaml.SafeLoader):
    """The safe loader, refusing a key that stands twice in one mapping: the last would win without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key.value!r} stands twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def load_yaml(path: Path) -> Any:
    """Read a YAML file; only plain data, every key once.

    Raises:
        UserError: if it cannot be read or is not YAML.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None


def _keys_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    parts = iter(path)
    for part in parts:
        field = model.model_fields.get(str(part))
        annotation = getattr(field, "annotation", None)
        if typing.get_origin(annotation) is dict:
            next(parts, None)  # the entry's own name
        options = [annotation, *typing.get_args(annotation)]  # looks into `Model | None` and `dict[str, Model]`
        inner = next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)
        if inner is None:
            return []
        model = inner
    return list(model.model_fields)
