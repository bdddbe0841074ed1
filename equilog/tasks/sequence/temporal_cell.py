"""A recurrent network as one equilibrium: all frames of a sequence settle at once, in one circuit.

At rest ``p_t = W₀ φ(p_t) + V φ(p_{t−1}) + U₀ d_t + b₀`` for frames t = 1 … T, with the same W₀, V, U₀ and b₀ in all of
them. As one equation, ``W = I_T ⊗ W₀ + S ⊗ V`` with S the shift by a frame, ones below the diagonal.

It settles by construction. With ``‖V‖₂ ≤ c`` the symmetric part of ``S ⊗ V`` has norm ≤ c, as ‖S‖₂ ≤ 1; with a margin
m + c in W₀ the whole has ``I − sym W ⪰ m I`` whatever is learnt, for any number of frames. W is zero but for two blocks
a frame: only there are devices (`populated`).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from equilog.cells import Certificate, CircuitCell, ContractiveWeight, MonotoneWeight


class TemporalWeight(nn.Module):
    """``W = I_T ⊗ W₀ + S ⊗ V``, states frame by frame.

    Args:
        frames: T.
        width: states a frame.
        margin: m > 0 of the whole.
        memory: c in (0, 1 − m), bound of ‖V‖₂: what a frame keeps of the one before.

    Raises:
        ValueError: for no frame or state, or unless margin and memory are above 0 and at most 1 together.
    """

    def __init__(self, frames: int, width: int, margin: float = 0.3, memory: float = 0.4) -> None:
        super().__init__()
        if min(frames, width) < 1:
            raise ValueError(f"{frames} frames of {width} states: expected at least one of each")
        if margin <= 0 or memory <= 0 or margin + memory > 1:
            raise ValueError(f"margin {margin} and memory {memory}: expected both above 0 and at most 1 together")
        self.n = frames * width
        self.frames, self.width, self.margin, self.memory = frames, width, margin, memory
        self.own = MonotoneWeight(width, margin + memory)
        self.before = ContractiveWeight(width, memory)

    def forward(self) -> Tensor:
        """Return W, shape ``(n, n)``."""
        own, before = self.own(), self.before()
        eye = torch.eye(self.frames, dtype=own.dtype, device=own.device)
        return torch.kron(eye, own) + torch.kron(self.shift(own), before)

    def shift(self, like: Tensor) -> Tensor:
        """Return S, shape ``(frames, frames)``, in the precision of another tensor."""
        return torch.diag(like.new_ones(self.frames - 1), -1)

    def extra_repr(self) -> str:
        """Describe the layer in ``repr``."""
        return f"frames={self.frames}, width={self.width}, margin={self.margin}, memory={self.memory}"


class TemporalCell(CircuitCell):
    """A sequence that settles at once: U and b are tied too, ``U = I_T ⊗ U₀`` and ``b = 1_T ⊗ b₀``.

    Args:
        frames, width, margin, memory: see :class:`TemporalWeight`.
        inputs: drives a frame.
    """

    def __init__(self, frames: int, width: int, inputs: int, margin: float = 0.3, memory: float = 0.4) -> None:
        weight = TemporalWeight(frames, width, margin, memory)
        super().__init__(weight.n, frames * inputs, recurrent=weight)
        self.frames, self.width, self.inputs = frames, width, inputs
        del self.input_weight  # the dense one
        self.frame_input_weight = nn.Parameter(torch.randn(width, inputs) / inputs**0.5)
        self.bias = nn.Parameter(torch.zeros(width))

    def matrices(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``W (n, n)``, ``U (n, m)`` and ``b (n,)``, n = frames·width, m = frames·inputs."""
        eye = torch.eye(self.frames, dtype=self.bias.dtype, device=self.bias.device)
        return self.recurrent(), torch.kron(eye, self.frame_input_weight), self.bias.repeat(self.frames)

    @property
    def populated(self) -> Tensor:
        """Where a crossbar has devices, bool, ``(n, n + m + 1)``: two blocks of W a frame, one of U, and b."""
        shift, eye = torch.diag(torch.ones(self.frames - 1), -1), torch.eye(self.frames)
        own = torch.kron(eye + shift, torch.ones(self.width, self.width))
        driven = torch.kron(eye, torch.ones(self.width, self.inputs))
        everywhere = torch.ones(self.states, 1)
        return torch.cat([own, driven, everywhere], dim=1).bool().to(self.bias.device)

    def certificate(self) -> Certificate:
        """Return what the whole equation's present weight guarantees, measured in float64."""
        return replace(super().certificate(), promise=f"margin ≥ {self.recurrent.margin}")
