"""The adjoint circuit: the chip's own crossbar, driven from its other side, rests at the implicit gradient.

At rest ``p* = W'φ(p*) + u'`` with droop and wires in W' (:mod:`equilog.hardware.twin`). For a loss L(z*), D = φ'(p*)
and g = ∂L/∂z*, the gradient of L with respect to u' is

    λ = D y,      y = W'ᵀ D y + g:

the forward circuit again, with every activation replaced by the gain that it has at p*, and the array transposed.

    y_i ──[gain D_i]── bit line i ──G⁺_ij── word line 2j ──── transimpedance amplifier ── w_j = −R_f ΣG⁺ t
                             └──────G⁻_ij── word line 2j+1 ── integrator of neuron j ──── y_j;  w_j enters through R_f

No device is copied. The switches at either end of the array that connect sources to word lines and virtual grounds to
bit lines connect them the other way round, as is done where an array is also read in the direction of backpropagation
(e.g. Gokmen & Vlasov, Front. Neurosci. 10:333, 2016). By reciprocity the currents are those of the transposed array,
wires included. A bit line carries G⁺ and G⁻ of its neuron, so their sign is made on the sensing side: one more
amplifier a neuron inverts the G⁺ line. Columns of drives and bias are held at zero; g enters as currents ``V_a g/R_f``.

Errors. The transposed array loads its virtual grounds with *column* sums, ``ΣG_ij`` over i, where the forward array has
row sums, and the forward droop ``1 + N_i/A₀`` must act on the other side of W. Played without regard to either, λ is
wrong by about N/A₀. All of it is known once the array is programmed, and for ideal wires it is undone exactly by two
settings: the transimpedance resistor R_t, trimmed so that its amplifier has the gain −R_f, and the gain of neuron i,
``D_i`` times its droop in the transposed circuit over that in the forward one (``calibrated=True``). With resistive
wires the virtual grounds also pull at each other, by less than N/A₀, and that much is left. Offsets and bias currents
do not depend on g: each gradient is measured twice, with g and −g, and half the difference taken. A multiplying element
sets D_i; what it misses of it counts as that much of a weight's mismatch, as does an error of the measured p*.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from equilog.circuit.netlist import OP_OPTIONS, write_circuit
from equilog.circuit.ngspice import Ngspice, NgspiceError, find_ngspice
from equilog.hardware import Chip, ProgrammedLayer
from equilog.hardware.effects import AMPLIFIER_OFFSET
from equilog.hardware.rest import STEEPEST, at_rest
from equilog.hardware.transient import UnstableChipError
from equilog.hardware.twin import static_system
from equilog.hardware.wires import loaded_conductance


@dataclass(frozen=True)
class AdjointCircuit:
    """A programmed chip switched to its transposed direction; float64, no graph. Make it with :func:`adjoint_circuit`.

    Attributes:
        layer: the chip.
        sense_plus_siemens: current into the G⁺ line of column j for a volt at bit line i, shape ``(n, n)``, row i.
        sense_minus_siemens: likewise into the G⁻ lines.
        load_siemens: how word lines hold the virtual grounds at their ends, G⁺ lines first, shape ``(2n, 2n)``.
        r_transimpedance_ohm: R_t of every column, shape ``(n,)``.
        drive_scale: gain of neuron i in units of D_i, shape ``(n,)``.
        read_scale: λ_i in units of ``D_i y_i/V_a``, shape ``(n,)``.
        offset_volt: of the n transimpedance amplifiers, then the n integrators, shape ``(2n,)``.
    """

    layer: ProgrammedLayer
    sense_plus_siemens: Tensor
    sense_minus_siemens: Tensor
    load_siemens: Tensor
    r_transimpedance_ohm: Tensor
    drive_scale: Tensor
    read_scale: Tensor
    offset_volt: Tensor

    def gain(self, slope: Tensor) -> Tensor:
        """Return volts on bit line i for a volt of y_i, for slopes D of shape ``(batch, n)``."""
        spec = self.layer.spec.activation
        return slope * self.drive_scale * (float(spec.v_out_volt) / float(spec.v_scale_volt))

    def rest_volt(self, slope: Tensor, g: Tensor) -> Tensor:
        """Return where all amplifiers rest, w then y, offsets included: shape ``(batch, 2n)``.

        With x the virtual grounds, o the offsets and t = gain·y, Kirchhoff's current law and ``x = o − out/A₀`` give

            G⁺ᵀt − (Lx)⁺ + (w − x⁺)/R_t = I_b
            G⁻ᵀt − (Lx)⁻ + (w − x⁻)/R_f + (y − x⁻)/R_f = I_b + V_a g/R_f.
        """
        layer, n = self.layer, self.layer.states
        own, couple = self._conductances()
        a0 = layer.dc_gain.detach().double().repeat(2)
        held = self.load_siemens + torch.diag(own)
        outputs = couple + held / a0
        known = self.offset_volt @ held.T + float(layer.spec.amplifier.input_bias_ampere or 0.0)
        injected = g.double() * (float(layer.spec.activation.v_scale_volt) / float(layer.r_feedback_ohm))
        right = known + torch.cat([torch.zeros_like(injected), injected], dim=1)
        sensed = torch.cat([self.sense_plus_siemens, self.sense_minus_siemens], dim=1).T
        driven = sensed * self.gain(slope.double())[:, None, :]
        matrix = outputs.repeat(len(g), 1, 1)
        matrix[:, :, n:] += driven
        return torch.linalg.solve(matrix, right)

    def dynamics(self, slope: Tensor) -> Tensor:
        """Return A of ``ẋ = A x`` for slopes D of shape ``(batch, n)``, in 1/s, shape ``(batch, 3n, 3n)``.

        States: ``x⁻ − y`` over the integrators' capacitors, then w and y; a transimpedance amplifier has no capacitor.
        """
        layer, n = self.layer, self.layer.states
        r_f, c_f = float(layer.r_feedback_ohm), float(layer.c_feedback_farad)
        gain = self.gain(slope.double())
        batch, eye, zero = len(gain), torch.eye(n, dtype=torch.float64), torch.zeros(n, n, dtype=torch.float64)
        omega = (2 * torch.pi * layer.gbw_hertz.detach().double()).diag()
        leak = omega / layer.dc_gain.detach().double()
        (l_pp, l_pm), (l_mp, l_mm) = (part.split(n, dim=1) for part in self.load_siemens.split(n))

        # Rows over the states (q, w, y) of every sample: virtual grounds x⁻ = q + y, and x⁺ from its own current law.
        def row(*blocks: Tensor) -> Tensor:
            return torch.cat([block.expand(batch, n, n) for block in blocks], dim=2)

        x_minus = row(eye, zero, eye)
        t = row(zero, zero, gain[:, :, None] * eye)
        inner = self.sense_plus_siemens.T @ t - l_pm @ x_minus + row(zero, (1 / self.r_transimpedance_ohm).diag(), zero)
        x_plus = torch.linalg.solve(l_pp + (1 / self.r_transimpedance_ohm).diag(), inner)
        current = self.sense_minus_siemens.T @ t - l_mp @ x_plus - l_mm @ x_minus
        current = current + (row(zero, eye, zero) - x_minus - row(eye, zero, zero)) / r_f
        q_dot = current / c_f
        w_dot = -omega @ x_plus - row(zero, leak, zero)
        y_dot = -omega @ x_minus - row(zero, zero, leak)
        return torch.cat([q_dot, w_dot, y_dot], dim=1)

    def read(self, slope: Tensor, positive_volt: Tensor, negative_volt: Tensor) -> Tensor:
        """Return λ from y measured with g and with −g, shapes ``(batch, n)``."""
        y = (positive_volt - negative_volt) / (2 * float(self.layer.spec.activation.v_scale_volt))
        return slope * self.read_scale * y

    def _conductances(self) -> tuple[Tensor, Tensor]:
        """Return what else holds each virtual ground than the array, and what outputs push into them; both in S."""
        n, feedback = self.layer.states, 1 / self.layer.r_feedback_ohm.detach().double()
        trans = 1 / self.r_transimpedance_ohm
        eye, zero = torch.eye(n, dtype=torch.float64) * feedback, torch.zeros(n, n, dtype=torch.float64)
        own = torch.cat([trans, (2 * feedback).expand(n)])
        return own, torch.cat([torch.cat([trans.diag(), zero], 1), torch.cat([eye, eye], 1)])


@torch.no_grad()
def adjoint_circuit(layer: ProgrammedLayer, *, calibrated: bool = True) -> AdjointCircuit:
    """Return the chip in its transposed direction.

    Args:
        layer: one chip. Its integrators serve again, offsets included; the transimpedance amplifiers are n more of the
            same technology with offsets of their own.
        calibrated: whether R_t and gains make up for what is known of the droop in both directions.

    Raises:
        ValueError: for a population; if the amplifiers have too little gain to be calibrated.
    """
    if layer.chips is not None:
        raise ValueError(
            f"a circuit is one chip, this is a population of {layer.chips}: program one of them on its own"
        )
    layer = layer.to(torch.float64)
    plus, minus, load = _transposed(layer)
    n, r_f, a0 = layer.states, layer.r_feedback_ohm.detach(), layer.dc_gain.detach()
    ones = torch.ones(n, dtype=torch.float64)
    trans, drive, read = r_f * ones, ones, ones
    if calibrated:
        on_plus, on_minus = load.diagonal().split(n)
        weakest = float((a0 - r_f * on_plus).min())
        if not weakest > 0:
            raise ValueError(
                f"amplifiers with a gain of {float(a0.min()):.4g} cannot hold a column of conductance "
                f"{float(on_plus.max()):.4g} S at R_f = {float(r_f):.4g} ohm: a gain above "
                f"{float((r_f * on_plus).max()):.4g} is needed, or fewer neurons"
            )
        # R_t/(1 + (1 + R_t ΣG)/A₀) = R_f, solved for R_t.
        trans = r_f * (1 + 1 / a0) / (1 - r_f * on_plus / a0)
        read = 1 + (2 + r_f * on_minus) / a0
        drive = read / (1 + layer.noise_gain.detach() / a0)
    assert isinstance(layer.seed, int)
    sigma = AMPLIFIER_OFFSET.sigma(layer.spec)
    extra = sigma * Chip(layer.spec, layer.seed).standard_normal("adjoint.offset", n)
    offset = torch.cat([extra, layer.amp_offset_volt.detach()])
    return AdjointCircuit(layer, plus, minus, load, trans, drive, read, offset)


def _transposed(layer: ProgrammedLayer) -> tuple[Tensor, Tensor, Tensor]:
    """Return what arrives of G⁺ and G⁻ at the word lines, and their load; columns of drives and bias at zero volt.

    A fixed network lies beside the array, in both directions.
    """
    n, wires = layer.states, layer.wires
    if not layer.wired or wires is None:
        plus, minus = (g.detach()[:, :n] for g in layer.resistors)
        return plus, minus, torch.cat([plus.sum(0), minus.sum(0)]).diag()
    g_plus, g_minus = layer.g_plus_siemens.detach(), layer.g_minus_siemens.detach()
    # Bit lines are driven from where they ended: both directions of the drawing in hardware.wires are turned round.
    lines = torch.stack([g_plus.T, g_minus.T], dim=1).reshape(-1, n)
    arrives, load = loaded_conductance(lines.T.flip(0, 1), float(wires.bit_line_ohm), float(wires.word_line_ohm))
    arrives, load = arrives.flip(0, 1), load.flip(0, 1)
    order = torch.cat([torch.arange(0, 2 * n, 2), torch.arange(1, 2 * n, 2)])
    plus, minus = arrives[:, order].split(n, dim=1)
    law = [f.detach()[:, :n] for f in layer.fixed_pairs or (torch.zeros_like(plus), torch.zeros_like(minus))]
    return plus + law[0], minus + law[1], load[order][:, order] + torch.cat([f.sum(0) for f in law]).diag()


@torch.no_grad()
def adjoint_gradient(
    layer: ProgrammedLayer,
    played: Tensor,
    g: Tensor,
    simulator: Ngspice | None = None,
    *,
    calibrated: bool = True,
    amplitude: float = 1.0,
    folder: Path | None = None,
) -> Tensor:
    """Return λ = ∂L/∂u' as the adjoint circuit in ngspice measures it: two operating points a sample.

    Args:
        layer: one chip.
        played: drives as played, shape ``(batch, m)``; where the chip rests under them, the slopes are taken.
        g: ∂L/∂z*, shape ``(batch, n)``.
        simulator: the one on this machine unless given.
        calibrated: see :func:`adjoint_circuit`.
        amplitude: the largest entry of a sample's g as it is played, in units of V_a. λ does not depend on it.
        folder: keep the circuit here; a temporary folder otherwise.

    Raises:
        UnstableChipError: if the forward or the adjoint circuit does not stay at rest.
        ValueError: for shapes that do not fit or numbers that are not finite; if an amplifier would meet its rail.
        NgspiceError: if the simulator fails.
    """
    circuit, slope, shown, scale = _prepare(layer, played, g, calibrated, amplitude)
    with tempfile.TemporaryDirectory(prefix="equilog-adjoint-") as scratch:
        where = folder or Path(scratch)
        write_adjoint(circuit, where, torch.cat([slope, slope]), torch.cat([shown, -shown]))
        volts = adjoint_rest(simulator or find_ngspice(), where, layer.states, 2 * len(g))
    return _from_volts(circuit, slope, volts, scale)


@torch.no_grad()
def adjoint_twin(
    layer: ProgrammedLayer, played: Tensor, g: Tensor, *, calibrated: bool = True, amplitude: float = 1.0
) -> Tensor:
    """Return the λ that :func:`adjoint_gradient` measures, from the circuit's equations; same arguments and errors."""
    circuit, slope, shown, scale = _prepare(layer, played, g, calibrated, amplitude)
    volts = circuit.rest_volt(torch.cat([slope, slope]), torch.cat([shown, -shown]))
    return _from_volts(circuit, slope, volts, scale)


def _prepare(
    layer: ProgrammedLayer, played: Tensor, g: Tensor, calibrated: bool, amplitude: float
) -> tuple[AdjointCircuit, Tensor, Tensor, Tensor]:
    """Return the circuit, slopes at rest, g as played, and what divides it out again."""
    circuit = adjoint_circuit(layer, calibrated=calibrated)
    if g.shape != (len(played), layer.states):
        raise ValueError(f"g has shape {tuple(g.shape)}, expected ({len(played)}, {layer.states}): one row a sample")
    if not bool(torch.isfinite(g).all()):
        raise ValueError("g holds inf or nan: a gradient with respect to the states is expected")
    if not 0 < amplitude < float("inf"):
        raise ValueError(f"amplitude = {amplitude}: expected a number above 0, in units of V_a")
    played = played.double()
    p = at_rest(circuit.layer, played).p
    slope = static_system(circuit.layer, played).activation.slope(p).detach()
    steepest = slope.mean(1).topk(min(STEEPEST, len(slope))).indices
    abscissa = torch.linalg.eigvals(circuit.dynamics(slope[steepest])).real.amax(1)
    if not bool((abscissa < 0).all()):
        worst = int(abscissa.argmax())
        raise UnstableChipError(
            f"the adjoint circuit of chip {layer.seed} of {layer.spec.name} does not stay at rest: sample "
            f"{int(steepest[worst])} has a pole at {float(abscissa[worst]):+.3g} 1/s; faster amplifiers or a larger "
            "C_f help"
        )
    largest = g.double().abs().amax(1, keepdim=True)
    scale = torch.where(largest > 0, largest, 1.0) / amplitude
    return circuit, slope, g.double() / scale, scale


def _from_volts(circuit: AdjointCircuit, slope: Tensor, volts: Tensor, scale: Tensor) -> Tensor:
    rail = circuit.layer.spec.amplifier.rail_volt
    if rail is not None and bool((volts.abs() > float(rail)).any()):
        raise ValueError(
            f"an amplifier of the adjoint circuit would have to reach {float(volts.abs().max()):.3g} V, beyond its "
            f"rail of {float(rail):.3g} V: expected a smaller amplitude"
        )
    positive, negative = volts[:, circuit.layer.states :].chunk(2)
    return circuit.read(slope, positive, negative) * scale


def write_adjoint(circuit: AdjointCircuit, folder: Path, slope: Tensor, g: Tensor) -> list[Path]:
    """Write ``adjoint.cir`` beside the circuit it transposes: both include the same ``crossbar.inc``.

    Args:
        circuit: the chip in its transposed direction.
        folder: where to, see :func:`~equilog.circuit.write_circuit`.
        slope: D of every operating point, shape ``(points, n)``.
        g: as played, same shape.

    Returns:
        the files written.
    """
    layer, n = circuit.layer, circuit.layer.states
    paths = write_circuit(layer, folder)
    r_f = repr(float(layer.r_feedback_ohm))
    lines = [
        f"* Adjoint of the layer in layer.cir: {n} neurons, the array driven from its bit lines; writes adjoint.raw",
        ".include blocks.lib",
        f".options {OP_OPTIONS}",
        "",
        "* Inverts the current of a G+ line. No capacitor: the amplifier's own pole is its bandwidth.",
        ".subckt transimpedance x v rt=1e4 a0=1e4 gbw=1e8 vos=0",
        "Voffset plus 0 dc {vos}",
        "Xamp plus x v opamp a0={a0} gbw={gbw}",
        "Rt x v {rt}",
        ".ends transimpedance",
        "",
        "* Column j: G+ line snj into a transimpedance amplifier; G- line spj, its output tj and the gradient into yj.",
    ]
    bias = float(layer.spec.amplifier.input_bias_ampere or 0.0)
    for j in range(n):
        amp = f"a0={float(layer.dc_gain[j])!r} gbw={float(layer.gbw_hertz[j])!r}"
        trans, offsets = float(circuit.r_transimpedance_ohm[j]), circuit.offset_volt[[j, n + j]].tolist()
        lines += [
            f"Xt{j} sn{j} t{j} transimpedance rt={trans!r} {amp} vos={offsets[0]!r}",
            f"Rc{j} t{j} sp{j} {r_f}",
            f"Xi{j} sp{j} y{j} integrator rf={r_f} cf={float(layer.c_feedback_farad)!r} {amp} vos={offsets[1]!r}",
            f"Ig{j} sp{j} 0 dc 0",
        ]
        if bias:
            lines += [f"Ibiast{j} sn{j} 0 dc {bias!r}", f"Ibiasi{j} sp{j} 0 dc {bias!r}"]
    lines += ["", "* Bit line i, driven from where its virtual ground was; the gain is the slope of activation i."]
    lines += [f"Ed{i} x{i} 0 y{i} 0 0" for i in range(n)]
    lines += ["", "* Columns of drives and bias are held at zero."]
    held = [f"d{sign}{k}" for k in range(layer.drives) for sign in "pn"] + ["refp", "refn"]
    lines += [f"V{node} {node} 0 dc 0" for node in held]
    lines += ["", ".include crossbar.inc", *([] if layer.fixed_target is None else [".include fixed.inc"]), ""]
    lines += [f".save v(t{j}) v(y{j})" for j in range(n)]
    lines += [".op", ".control", "set filetype=binary", "set appendwrite"]
    ampere = g * (float(layer.spec.activation.v_scale_volt) / float(layer.r_feedback_ohm))
    for gains, currents in zip(circuit.gain(slope).tolist(), ampere.tolist()):
        lines += [f"alter Ed{i} gain = {value!r}" for i, value in enumerate(gains)]
        lines += [f"alter Ig{j} dc = {value!r}" for j, value in enumerate(currents)]
        lines += ["op", "write adjoint.raw", "destroy all"]
    lines += ["quit 0", ".endc", ".end", ""]
    (folder / "adjoint.cir").write_text("\n".join(lines), encoding="utf-8")
    return [*paths, folder / "adjoint.cir"]


def adjoint_rest(simulator: Ngspice, folder: Path, states: int, points: int) -> Tensor:
    """Run ``adjoint.cir``; return outputs w then y of every operating point in volts, shape ``(points, 2n)``.

    Raises:
        NgspiceError: if the simulator fails or settles fewer points than the bench asks for.
    """
    plots = simulator.run(folder, "adjoint.cir", "adjoint.raw", timeout_second=60 + 2.0 * points)
    if len(plots) != points:
        raise NgspiceError(f"adjoint.cir asks for {points} operating points, ngspice returned {len(plots)}")
    names = [f"v({kind}{j})" for kind in "ty" for j in range(states)]
    return torch.tensor([[plot[name][0] for name in names] for plot in plots], dtype=torch.float64)


@dataclass(frozen=True)
class AdjointGradients:
    """Gradients of a loss, assembled from λ by outer products.

    Attributes:
        weight, input_weight, bias: with respect to the weights that the chip realises (``layer.effective``), its load
            held; shapes ``(n, n)``, ``(n, m)``, ``(n,)``, summed over the batch.
        drive: with respect to the drives as played, shape ``(batch, m)``.
    """

    weight: Tensor
    input_weight: Tensor
    bias: Tensor
    drive: Tensor


@torch.no_grad()
def assemble(layer: ProgrammedLayer, played: Tensor, z: Tensor, lam: Tensor) -> AdjointGradients:
    """Return the gradients that λ, the resting states and the drives make: ``M⁻ᵀλ ⊗ [z*, d, 1]``, M the droop.

    For gradients of the weights asked for, through rounding, R_f and load, hand λ to the twin instead:
    ``static_system(layer, played)(p).backward(lam)`` on a layer that was programmed on tape.

    Args:
        layer: one chip.
        played: drives as played, shape ``(batch, m)``.
        z: resting states, shape ``(batch, n)``.
        lam: λ, same shape.
    """
    n, m = layer.states, layer.drives
    a0 = layer.dc_gain
    if layer.wired:
        eye = torch.eye(n).to(layer.load_siemens)
        droop = eye + (layer.r_feedback_ohm * layer.load_siemens + eye) / a0[None, :]
        inner = torch.linalg.solve(droop.mT, lam.T).T
    else:
        inner = lam / (1 + layer.noise_gain / a0)
    known = torch.cat([z, played, torch.ones_like(played[:, :1])], dim=1)
    weight, input_weight, bias = (inner.T @ known).split([n, m, 1], dim=1)
    return AdjointGradients(weight, input_weight, bias[:, 0], inner @ layer.effective[:, n : n + m])
