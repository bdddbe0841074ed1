"""How well gradients with a device in the loop point: their cosine to the exact ones."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from equilog.devices import Device
from equilog.hardware import Chip, Conditions
from equilog.model import HybridDEQ
from equilog.objective import Classification, Objective
from equilog.training.adapt.measured import calibration_of, on_tape
from equilog.training.adapt.twin import Twin, equations

OVERALL = "overall"


def gradient_cosine(
    model: HybridDEQ,
    device: Device,
    twin: Twin,
    x: Tensor,
    y: Tensor,
    *,
    truth: Chip | None = None,
    conditions: Conditions | None = None,
    objective: Objective | None = None,
) -> dict[str, float]:
    """Return the cosine between the gradient with the device in the loop and the exact one, in float64.

    Exact is the implicit gradient of the chip's own twin, settled by itself. The device is programmed with the model.

    Args:
        model: whose parameters; it and its gradients are left alone.
        device: with a chip that is known, as a twin's or the simulator's is.
        twin: what the backward pass goes through.
        x, y: a batch.
        truth: the device's chip; ``device.chip`` unless given.
        conditions: when and how warm the twin believes the device to be read.
        objective: the task's loss; cross-entropy unless given.

    Returns:
        by parameter name, and :data:`OVERALL`; nan where a gradient is zero.

    Raises:
        ValueError: if the device's chip is not known.
    """
    chip = truth if truth is not None else getattr(device, "chip", None)
    if not isinstance(chip, Chip):
        raise ValueError(
            f"the chip in {device.name!r} is not known, so neither is its exact gradient: pass it as truth"
        )
    goal, x = objective or Classification(), x.double()
    model = copy.deepcopy(model).double().eval()
    device.program(model.cell)
    calibration = calibration_of(device)

    drive = model.parameterize(x)
    settled = device.settle(drive.detach())
    system = equations(model.cell, twin, conditions)(drive)
    looped = _gradients(model, goal.loss(model.readout(on_tape(model.equilibrium, system, settled, calibration)), y))

    own = model.on_chip(model.parameterize(x), model.program(chip, getattr(device, "conditions", None)))
    exact = _gradients(model, goal.loss(model.readout(calibration.apply(own.read) if calibration else own.read), y))
    cosines = {name: _cosine(looped[name], exact[name]) for name in exact}
    whole = [torch.cat([g.flatten() for g in each.values()]) for each in (looped, exact)]
    return cosines | {OVERALL: _cosine(*whole)}


def _gradients(model: HybridDEQ, loss: Tensor) -> dict[str, Tensor]:
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {name: torch.zeros_like(p) if g is None else g for (name, p), g in zip(named.items(), found)}


def _cosine(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum() / (a.norm() * b.norm()))
