"""What the tests of the twin in time share: a reference that knows nothing of the library's equations in time."""

import math

import numpy as np
import torch
from builders import drives, layer_of, spec_with
from scipy.integrate import solve_ivp

from equilog.equilibrium import EquilibriumLayer
from equilog.hardware.twin import static_system

UNLIMITED = {"amplifier.slew_volt_per_second": None, "amplifier.rail_volt": None}
SLEW, RAIL = "amplifier.slew_volt_per_second", "amplifier.rail_volt"
# With the weights below: neurons slew for most of the way, and some meet their rails.
BOTH = {SLEW: 5e5, RAIL: 0.1, "dac.full_scale_volt": 0.4}
RRAM = spec_with("rram")


def make(spec=RRAM, n=3, m=2, batch=2, seed=1, norm=2.0):
    return layer_of(spec, n, m, seed, norm), drives(batch, m, seed)


def rest_volt(layer, played):
    p = EquilibriumLayer(on_failure="raise").rest(static_system(layer, played))
    rail = layer.spec.amplifier.rail_volt or math.inf
    return (p * float(layer.spec.activation.v_scale_volt)).clamp(-rail, rail)


def circuit_derivative(layer, played):
    """d(y, pole)/dt of one sample, from node currents and the amplifier; its output is the pole within the rails."""
    spec, n, amp = layer.spec, layer.states, layer.spec.amplifier
    plus, minus = layer.g_plus_siemens.numpy(), layer.g_minus_siemens.numpy()
    transfer, load = layer.transfer_siemens.numpy(), layer.load_siemens.numpy()
    r_f, c_f = float(layer.r_feedback_ohm), float(layer.c_feedback_farad)
    omega, a_0 = 2 * math.pi * layer.gbw_hertz.numpy(), layer.dc_gain.numpy()
    offset, v_a = layer.amp_offset_volt.numpy(), float(spec.activation.v_scale_volt)
    gain, shift = layer.act_gain.numpy(), layer.act_offset_volt.numpy()
    slew, rail = amp.slew_volt_per_second or math.inf, amp.rail_volt or math.inf
    fixed = np.append(played, 1.0) * float(spec.dac.full_scale_volt)
    bias = float(amp.input_bias_ampere or 0.0)

    def derivative(_t, state):
        y, pole = state[:n], state[n:]
        v = np.clip(pole, -rail, rail)
        x = y + v
        s = float(spec.activation.v_out_volt) * gain * np.tanh((v - shift) / v_a)
        source = np.concatenate([s, fixed])
        if layer.wired:
            current = -transfer @ source - load @ x
        else:
            current = (plus * (-source - x[:, None])).sum(1) + (minus * (source - x[:, None])).sum(1)
        moves = np.clip(omega * (offset - x), -slew, slew) - omega / a_0 * v
        stuck = (np.abs(pole) >= rail) & (moves * pole > 0)
        # Current into node x leaves through R_f, C_f and the amplifier's input: C_f dy/dt = current − y/R_f − bias.
        return np.concatenate([(current - y / r_f - bias) / c_f, np.where(stuck, 0.0, moves)])

    return derivative


def reference(layer, played, time_second, rtol=1e-10):
    """Outputs of one sample from discharged capacitors, shape (points, n), by SciPy's Dormand–Prince method."""
    found = solve_ivp(
        circuit_derivative(layer, played.numpy()),
        (0, float(time_second[-1])),
        np.zeros(2 * layer.states),
        method="DOP853",
        t_eval=time_second.numpy(),
        rtol=rtol,
        atol=1e-13,
        max_step=layer.time_constant_second / 20,  # not to step over a visit to a rail
    )
    rail = layer.spec.amplifier.rail_volt or math.inf
    return torch.from_numpy(found.y[layer.states :].T).clamp(-rail, rail)


def references(layer, played, time_second, rtol=1e-10):
    """The same for every sample, shape (points, batch, n)."""
    return torch.stack([reference(layer, one, time_second, rtol) for one in played], dim=1)


def error(moving, layer, played, time_second, rtol=1e-10):
    """Largest difference to the reference along the way, in units of V_a."""
    return away(moving, references(layer, played, time_second, rtol), time_second)


def away(moving, expected, time_second):
    """Largest difference to known outputs along the way, in units of V_a."""
    return float((moving.at(time_second).v_volt - expected).abs().max()) / moving.v_a
