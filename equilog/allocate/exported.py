"""The graph of a model as ``torch.export`` sees it, for models whose Python ``torch.fx`` cannot follow.

Loops are unrolled and branches taken as the sample takes them. Of every node the innermost module is known, so that a
product of matrices still belongs to its layer.
"""

from __future__ import annotations

import io
import logging
from contextlib import redirect_stderr
from typing import Any

import torch
from torch import fx, nn

_OF_LAYERS = {
    torch.ops.aten.linear.default: nn.Linear,
    torch.ops.aten.conv2d.default: nn.Conv2d,
    torch.ops.aten.tanh.default: nn.Tanh,
    torch.ops.aten.sigmoid.default: nn.Sigmoid,
}


def exported(model: nn.Module, sample: tuple[Any, ...]) -> tuple[fx.GraphModule, dict[str, str]]:
    """Return the graph, and for nodes that a module computes alone the module's dotted name.

    Args:
        model: in evaluation mode.
        sample: what to call it with.

    Raises:
        Exception: whatever ``torch.export`` does, if it cannot follow either.
    """
    log = logging.getLogger("torch")
    before = log.level
    try:
        log.setLevel(logging.CRITICAL)  # where it fails it prints the whole graph; the exception says enough
        with redirect_stderr(io.StringIO()):
            program = torch.export.export(model, sample, strict=False)
    finally:
        log.setLevel(before)
    seen = program.module()
    assert isinstance(seen, fx.GraphModule)
    names = {}
    for node in seen.graph.nodes:
        wanted = _OF_LAYERS.get(node.target)
        stack = list(node.meta.get("nn_module_stack", {}).values())
        if wanted is None or not stack:
            continue
        name = str(stack[-1][0]).partition("@")[0]
        try:
            module = model.get_submodule(name)
        except AttributeError:
            continue
        if type(module) is wanted:
            names[node.name] = name
    return _without_guards(seen), names


def _without_guards(seen: fx.GraphModule) -> fx.GraphModule:
    """Drop what only checks that inputs are as the sample was."""
    seen.graph.eliminate_dead_code()
    for node in reversed(seen.graph.nodes):
        if node.op == "call_module" and "guard" in str(node.target) and not node.users:
            seen.graph.erase_node(node)
    return seen
