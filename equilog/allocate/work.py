"""What running something takes on a digital computer, counted operation by operation as PyTorch dispatches them.

Matrix products and convolutions count by PyTorch's own formulas; functions like tanh one activation a number;
everything else one multiply–accumulate for every number of the larger of input and output. A product fetches the
numbers it reads, weights included, and those it writes; what stands behind a product is fused with it, and fetches only
what it reads beside its main input. Views and copies into another layout are free.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from equilog.cost.digital import Work

# fmt: off
_FUNCTIONS = frozenset((
    "tanh", "sigmoid", "exp", "expm1", "log", "log1p", "log2", "erf", "gelu", "silu", "mish", "elu", "selu", "celu",
    "softplus", "hardswish", "hardsigmoid", "log_sigmoid", "log_sigmoid_forward", "_softmax", "_log_softmax",
    "softmax", "log_softmax", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh",
    "atanh", "sqrt", "rsqrt", "reciprocal", "div", "pow", "logaddexp", "logsumexp",
))
# fmt: on
# fmt: off
_FREE = frozenset((
    "clone", "contiguous", "_unsafe_view", "_reshape_alias", "_to_copy", "copy", "detach", "alias", "empty",
    "empty_like", "empty_strided", "zeros", "zeros_like", "ones", "ones_like", "full", "full_like", "new_zeros",
    "new_ones", "new_full", "new_empty", "arange", "eye", "scalar_tensor", "lift_fresh", "lift_fresh_copy", "cat",
    "stack", "constant_pad_nd", "im2col", "dropout", "native_dropout", "_local_scalar_dense",
))
# fmt: on


class WorkCounter(TorchDispatchMode):
    """Lists all that runs inside it, but for what runs between :meth:`pause` and :meth:`go_on`.

    Args:
        weights: of the model: numbers that stay where they are from one inference to the next.

    Attributes:
        works: of every operation that is not free, in order.
    """

    def __init__(self, weights: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.works: list[Work] = []
        self._weights = {_place(weight) for weight in weights}
        self._paused = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else PyTorch imports its compiler, which takes seconds, to keep it away from here

    def pause(self) -> None:
        """Stop counting until :meth:`go_on` was called as often."""
        self._paused += 1

    def go_on(self) -> None:
        """See :meth:`pause`."""
        self._paused -= 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and count it."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if not self._paused and (work := self._counted(func, args, kwargs, out)) is not None:
            self.works.append(work)
        return out

    def _counted(self, func: Any, args: Any, kwargs: Any, out: Any) -> Work | None:
        read, written = _numbers((args, kwargs)), _numbers(out)
        if not written or _is_view(func) or func._schema.name.partition("::")[2].rstrip("_") in _FREE:
            return None
        weights = sum(t.numel() for t in read if _place(t) in self._weights)
        inputs, outputs = [t.numel() for t in read], sum(t.numel() for t in written)
        packet = func._overloadpacket
        if packet in flop_registry:
            return Work(
                macs=flop_registry[packet](*args, **kwargs, out_val=out) / 2,
                fetched_numbers=sum(inputs) + outputs,
                weight_numbers=weights,
            )
        largest = max([*inputs, outputs])
        beside = max(weights, sum(inputs) - max(inputs)) if inputs else 0
        function = packet.__name__.rstrip("_") in _FUNCTIONS
        return Work(
            macs=0 if function else largest,
            fetched_numbers=beside,
            activations=outputs if function else 0,
            weight_numbers=weights,
            steps=0,
        )


def _numbers(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _is_view(func: Any) -> bool:
    """Whether the result only looks at an argument's memory; in-place operations write to it."""
    info = [argument.alias_info for argument in func._schema.arguments if argument.alias_info is not None]
    return bool(info) and not any(alias.is_write for alias in info)


@contextmanager
def counting(weights: Iterable[Tensor] = ()) -> Iterator[WorkCounter]:
    """Count digital work, without gradients and with every operation in sight; see :class:`WorkCounter`."""
    fast = torch.backends.mha.get_fastpath_enabled()
    fused = torch._C._get_mkldnn_enabled()
    # Attention's fast path and fused recurrent layers would hide their products in one operation.
    torch.backends.mha.set_fastpath_enabled(False)
    torch._C._set_mkldnn_enabled(False)
    try:
        with torch.no_grad(), WorkCounter(weights) as counter:
            yield counter
    finally:
        torch._C._set_mkldnn_enabled(fused)
        torch.backends.mha.set_fastpath_enabled(fast)
