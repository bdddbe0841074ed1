"""What a task computes once and keeps, on the CPU wherever its models are built."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from functools import _lru_cache_wrapper

T = TypeVar("T")


def kept(make: Callable[..., T]) -> _lru_cache_wrapper[T]:
    """Return a function that keeps its results: models are also built on "meta", to be counted, laws never are."""

    @cache
    @wraps(make)
    def once(*args: object) -> T:
        with torch.device("cpu"):
            return make(*args)

    return once
