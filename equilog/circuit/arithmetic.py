"""The numbers of a deck: with SPICE's scale suffixes, and arithmetic over named parameters."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping

_OPERATORS: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip
_SCALES = {"t": 1e12, "g": 1e9, "meg": 1e6, "k": 1e3, "m": 1e-3, "u": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15}
_NUMBER = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)(meg|[tgkmunpf])?", re.IGNORECASE)


def evaluate(text: str, numbers: Mapping[str, float]) -> float:
    """Return the value of sums, products and quotients over known names; nothing else is evaluated.

    Args:
        text: such as ``2*rs/gain``.
        numbers: what the names mean.

    Raises:
        ValueError: for another name, a function or anything that is no arithmetic; for a division by zero.
    """

    def value(node: ast.expr) -> float:
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
            return float(node.value)
        if isinstance(node, ast.Name) and node.id in numbers:
            return numbers[node.id]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -value(node.operand)
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](value(node.left), value(node.right))
        raise ValueError(ast.dump(node))

    try:
        return value(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError):
        known = ", ".join(sorted(numbers)) or "none"
        raise ValueError(f"cannot evaluate {text!r}; expected arithmetic over the names known here: {known}") from None


def spice_number(text: str, numbers: Mapping[str, float]) -> float:
    """Return a deck's number: ``36e3``, ``0.2p``, or ``{…}`` with arithmetic in it.

    Raises:
        ValueError: if it is neither.
    """
    if text.startswith("{") and text.endswith("}"):
        return evaluate(text[1:-1], numbers)
    if (found := _NUMBER.fullmatch(text)) is None:
        raise ValueError(f"cannot read {text!r} as a number; expected one such as 36e3, 0.2p or {{2*r}}")
    return float(found[1]) * _SCALES[(found[2] or "").lower()] if found[2] else float(found[1])
