"""Text files: decoded or refused by name, and cut into windows whose targets are the tokens that come next."""

from __future__ import annotations

import torch
from torch import Tensor

from equilog.names import UserError
from equilog.tasks.damage import DamagedError
from equilog.tasks.files.store import Store
from equilog.tasks.sequence.next_token import CONTEXT

NOT_UTF8, EMPTY_LINE, CONTROL = "invalid UTF-8", "empty line", "control character"
"""reasons to leave a line out"""


def content_of(store: Store, names: tuple[str, ...], how_to_get: str) -> tuple[str, bytes]:
    """Return a file under the first of its names that is there: what people call it, and its bytes.

    Raises:
        UserError: for a file that is not there, cannot be read or is empty.
    """
    where, content = store.content_of(names, how_to_get)
    if not content.strip():
        raise UserError(f"{where} is empty; {how_to_get}")
    return where, content


def decoded(content: bytes) -> str:
    """Return bytes as text.

    Raises:
        DamagedError: if they are not UTF-8, saying at which byte.
    """
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DamagedError(NOT_UTF8, f"byte {error.start}: 0x{content[error.start]:02x}") from None


def windows(ids: Tensor, positions: int) -> tuple[Tensor, Tensor]:
    """Return windows side by side and the tokens that come next, every position asked for: to train with.

    Args:
        ids: the text, int64, shape ``(tokens,)``.
        positions: of a window. What is left at the end, less than a window, is dropped.

    Returns:
        inputs, float32 (exact below 2²⁴), and targets, int64, both ``(windows, positions)``.

    Raises:
        UserError: for a text that is shorter than a window and one token.
    """
    count = (len(ids) - 1) // positions
    if count < 1:
        raise UserError(f"a text of {len(ids)} tokens: expected at least {positions + 1}, a window and what comes next")
    used = count * positions
    return ids[:used].view(count, positions).float(), ids[1 : used + 1].view(count, positions)


def scored_windows(ids: Tensor, before: Tensor, positions: int, stride: int) -> tuple[Tensor, Tensor]:
    """Return overlapping windows in which every token of a text is predicted once, from at least some context.

    Windows begin `stride` tokens after each other. Only the last `stride` targets of each are asked for; those before
    are :data:`~equilog.tasks.sequence.next_token.CONTEXT`. So a token is predicted from ``positions − stride + 1`` to
    `positions` tokens. What is left at the end, less than a stride, is dropped.

    Args:
        ids: the text to score, int64, shape ``(tokens,)``.
        before: the text before it, of which the first windows have their context.
        positions: of a window.
        stride: from 1 to `positions`.

    Returns:
        as :func:`windows`.

    Raises:
        UserError: for a text shorter than a stride, or too little before it.
        ValueError: for another stride.
    """
    if not 1 <= stride <= positions:
        raise ValueError(f"stride = {stride}: expected 1 to {positions}")
    count, context = len(ids) // stride, positions - stride + 1
    if count < 1 or len(before) < context:
        raise UserError(
            f"a text of {len(ids)} tokens after {len(before)} others: expected at least {stride} to score, and "
            f"{context} to begin with"
        )
    whole = torch.cat([before[len(before) - context :], ids[: count * stride]])
    seen = whole.unfold(0, positions + 1, stride)
    x, y = seen[:, :-1].float(), seen[:, 1:].clone()
    y[:, : positions - stride] = CONTEXT
    return x, y
