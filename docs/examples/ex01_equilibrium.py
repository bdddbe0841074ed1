"""An equilibrium where iteration diverges: a monotone weight of norm far above 1, and its gradient.

Picard iteration p ← Wφ(p) + u needs ‖W‖ < 1. A monotone W has exactly one equilibrium whatever its norm; the chord
solver finds it in a few steps, and the implicit function theorem gives the gradient.
"""

import torch

from equilog.cells import AffineSystem, MonotoneWeight, Tanh
from equilog.equilibrium import EquilibriumLayer

torch.manual_seed(0)
weight = MonotoneWeight(64, margin=0.3, scale=1.0)().detach()
norm = float(torch.linalg.matrix_norm(weight, 2))
u = torch.randn(16, 64, requires_grad=True)
system = AffineSystem(weight, u, Tanh())

p = torch.zeros(16, 64)
for _ in range(100):
    p = system(p).detach()
picard_residual = float((system(p) - p).detach().norm())

layer = EquilibriumLayer()
z = layer(system)
steps = int(layer.last.steps.max())
chord_residual = float(layer.last.residual.max())

z.square().sum().backward()
gradient_norm = float(u.grad.norm())

if __name__ == "__main__":
    print(f"norm of W {norm:.1f}")
    print(f"Picard, 100 steps: residual {picard_residual:.1e}")
    print(f"chord, {steps} steps: residual {chord_residual:.1e}; gradient norm {gradient_norm:.2f}")
