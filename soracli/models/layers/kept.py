"""What is worked out once for all layers of a pass."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar

import torch

_Made = TypeVar("_Made")


class _Same:
    """An object as a key of a cache, told apart by identity; the cache keeps it, so no other gets its place."""

    def __init__(self, given: object) -> None:
        self.given = given

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.given is other.given

    def __hash__(self) -> int:
        return id(self.given)


def kept_for_last(make: Callable[..., _Made]) -> Callable[..., _Made]:
    """A function that remembers what it made of the last two objects it was given.

    The first argument is told apart by identity and must never change; others have a hash. Tensors made under
    ``torch.inference_mode`` serve a pass with gradients too.
    """

    @lru_cache(maxsize=2)
    def made_of(same: _Same, *others: Any) -> _Made:
        with torch.inference_mode(False):  # what is made there could never be saved for a backward pass
            return make(same.given, *others)

    @wraps(make)
    def kept(given: object, *others: Any) -> _Made:
        return made_of(_Same(given), *others)

    return kept
