"""A model named on the command line: ``module:factory``, imported from the current directory."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from equilog.names import UserError, nearest

EXPECTED = "a factory returns (model, inputs) or (model, inputs, labels)"


def from_factory(name: str) -> tuple[nn.Module, Any, Tensor | None]:
    """Return model, inputs and labels, None if there are none.

    Args:
        name: ``module:factory``; dots in either part lead inwards. The module is Python of the user's own, and runs.

    Raises:
        UserError: if it cannot be imported, is not there, fails, or returns something else.
    """
    module_name, _, path = name.partition(":")
    if not all(part.isidentifier() for part in [*module_name.split("."), *path.split(".")]):
        raise UserError(f"{name!r}: expected a run folder, or MODULE:FACTORY like mymodel:make")
    found: Any = _run(f"importing {module_name!r}", lambda: _imported(module_name))
    for part in path.split("."):
        if not hasattr(found, part):
            public = [n for n in vars(found) if not n.startswith("_")] if hasattr(found, "__dict__") else []
            raise UserError(f"module {module_name!r} has no {path!r}{nearest(part, public)}")
        found = getattr(found, part)
    if isinstance(found, nn.Module) or not callable(found):
        raise UserError(f"{name} is a {type(found).__name__}: {EXPECTED}")
    made = _run(f"{name}()", found)
    if not isinstance(made, (tuple, list)) or len(made) not in (2, 3) or not isinstance(made[0], nn.Module):
        raise UserError(f"{name}() returned a {type(made).__name__}: {EXPECTED}")
    model, inputs, *labels = made
    if labels and not isinstance(labels[0], Tensor):
        raise UserError(f"{name}() returned labels as a {type(labels[0]).__name__}: expected a tensor")
    return model, inputs, labels[0] if labels else None


def _imported(name: str) -> Any:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise UserError(f"there is no module {error.name!r} in {here}, nor installed") from None
        raise


def _run(what: str, do: Callable[[], Any]) -> Any:
    try:
        return do()
    except UserError:
        raise
    except Exception as error:  # whatever a user's own code raises is said with its place
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise UserError(
            f"{what} failed: {type(error).__name__}: {error} ({last.filename}, line {last.lineno})"
        ) from error
