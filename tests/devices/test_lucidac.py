"""Linear and cubic equilibria on the LUCIDAC's vendor emulator rest where its twin says; what does not fit is refused.

The emulator integrates at a relative tolerance of 1e-3 and stays within about 2e-4 of its own rest. With its integrator
made precise the whole path, from cell to reading, agrees to 1e-6: what is left of 2e-4 is the emulator's, not ours.
"""

import functools

import pytest
import scipy.integrate
import torch
from builders import drives, monotone, normal, spec_with
from hypothesis import assume, given
from hypothesis import strategies as st

from equilog.cells import CircuitCell, Cubic, CubicCell, Linear, LinearCell
from equilog.devices import (
    DigitalDevice,
    LucidacDevice,
    LucidacTwin,
    TwinDevice,
    spanning_drives,
)
from equilog.devices.lucidac_circuit import STEP, Flaws, Lane, patch
from equilog.hardware import Chip, load_spec
from equilog.names import UserError

EMULATOR_ITSELF = 3e-4
CHIP = Chip(load_spec("lucidac"), 3)
EXACT = {
    "crossbar.programming_sigma": None,
    "amplifier.offset_sigma_volt": 0.0,
    "activation.gain_sigma": 0.0,
    "activation.offset_sigma_volt": 0.0,
    "adc.inl_lsb": None,
}


def programmed(device, cell):
    device.program(cell)
    return device


def chain(n, seed=0):
    """Steady diffusion along a line of n nodes that all leak: sparse, Kirchhoff's current law at every node."""
    line = torch.diag(torch.ones(n - 1, dtype=torch.float64), 1)
    return LinearCell.network(line + line.T, torch.full((n,), 0.5).double(), 0.2 * normal(seed, n, 2))


def dense(n, seed=0):
    return LinearCell(monotone(n, 1.0, seed), 0.1 * normal(seed + 1, n, 2), 0.05 * normal(seed + 2, n))


def cubic(n, seed=0):
    curvature = torch.tensor([1 / 3, 0.2] + [0.0] * (n - 2), dtype=torch.float64)
    weight = 0.6 * torch.tanh(normal(seed, n, n)) - 0.6 * torch.eye(n)
    return CubicCell(weight, 0.3 * normal(seed + 1, n, 2), 0.1 * normal(seed + 2, n), curvature)


CELLS = {
    **{f"diffusion over {n} nodes": chain(n) for n in (2, 3, 4, 5, 8)},
    **{f"dense, {n} states": dense(n) for n in (1, 2, 3, 4, 5)},
    **{f"cubic, {n} states": cubic(n) for n in (2, 3)},
}


@pytest.fixture
def precise(monkeypatch):
    """The emulator's own integrator, with tolerances that leave no doubt."""
    tight = functools.partial(scipy.integrate.solve_ivp, rtol=1e-9, atol=1e-12)
    monkeypatch.setattr(scipy.integrate, "solve_ivp", tight)


@pytest.fixture
def sent(monkeypatch):
    """Every line that goes to the emulator."""
    from lucipy import synchc

    lines, send = [], synchc.emusocket.send

    def recording(self, line):
        lines.append(line)
        send(self, line)

    monkeypatch.setattr(synchc.emusocket, "send", recording)
    return lines


@pytest.mark.parametrize("chip", [None, CHIP], ids=["ideal", "chip"])
@pytest.mark.parametrize("name", CELLS)
def test_the_emulator_rests_where_the_twin_says(name, chip):
    drive = drives(3, 2)
    with LucidacDevice("emu:/", chip) as device:
        ours = programmed(LucidacTwin(chip), CELLS[name]).settle(drive)
        theirs = programmed(device, CELLS[name]).settle(drive)
    for field in ("p", "z", "read"):
        gap = (getattr(ours, field) - getattr(theirs, field)).abs().amax(0)
        assert (gap < EMULATOR_ITSELF).all(), (field, gap)
    assert ours.z.abs().max() > 0.02  # and not all zero


@pytest.mark.parametrize("chip", [None, CHIP], ids=["ideal", "chip"])
@pytest.mark.parametrize("name", ["diffusion over 5 nodes", "dense, 5 states", "cubic, 3 states"])
def test_the_path_is_exact_once_the_emulator_is(name, chip, precise):
    drive = drives(3, 2)
    ours = programmed(LucidacTwin(chip), CELLS[name]).settle(drive)
    theirs = programmed(LucidacDevice("emu:/", chip), CELLS[name]).settle(drive)
    assert (ours.p - theirs.p).abs().max() < 1e-6
    assert (ours.z - theirs.z).abs().max() < 1e-6
    if chip is not None:
        assert (ours.read - theirs.read).abs().max() < 2e-4  # one code of 14 bits at most


@pytest.mark.parametrize("name", CELLS)
def test_the_ideal_machine_is_the_cell(name):
    drive = drives(5, 2)
    twin, ideal = (programmed(device, CELLS[name]).settle(drive) for device in (LucidacTwin(), DigitalDevice()))
    assert (twin.p - ideal.p).abs().max() < 1e-7
    assert (twin.z - ideal.z).abs().max() < 1e-7


def test_full_scale_changes_volts_and_not_states(precise):
    drive, cell = drives(2, 2), CELLS["cubic, 3 states"]
    one, two = (programmed(LucidacDevice("emu:/", full_scale=s), cell).settle(drive) for s in (1.0, 1.6))
    assert (one.z - two.z).abs().max() < 1e-6


def test_the_preset_lucidac_says_nearly_the_same_of_a_linear_cell():
    """The generic twin builds a crossbar of the preset; this one the machine's lanes. Both only round here."""
    straight = [-1.25, -1.0, 1.0, 1.25]
    spec = spec_with("lucidac", EXACT).changed(
        activation={
            "v_scale_volt": 1.0,
            "curve": {"input_volt": straight, "output_volt": straight, "source": "an integrator's output"},
        }
    )
    drive, cell = drives(6, 2), CELLS["diffusion over 5 nodes"]
    generic = programmed(TwinDevice(Chip(spec, 0)), cell).settle(drive)
    lanes = programmed(LucidacTwin(Chip(spec, 0)), cell).settle(drive)
    gap = (generic.z - lanes.z).abs().amax(0)
    assert (gap < 2e-3).all(), gap  # a few codes of 12 bits, through I − W
    assert (gap > 0).any()


def test_a_seed_is_a_machine():
    drive, cell = drives(4, 2), CELLS["dense, 4 states"]
    same, again, other, none = (
        programmed(LucidacTwin(chip), cell).settle(drive).read
        for chip in (CHIP, Chip(CHIP.spec, 3), Chip(CHIP.spec, 4), None)
    )
    assert torch.equal(same, again)
    for a, b in ((same, other), (same, none)):
        assert 1e-4 < float((a - b).abs().max()) < 3e-2


def test_calibration_brings_a_flawed_machine_nearer_to_the_ideal():
    drive, cell = drives(8, 2, seed=3), CELLS["diffusion over 3 nodes"]
    truth = programmed(DigitalDevice(), cell)
    with programmed(LucidacDevice("emu:/", CHIP), cell) as device:
        before = (device.settle(drive).read - truth.settle(drive).z).abs().max()
        device.calibrate(spanning_drives(2), truth.settle(spanning_drives(2)).z)
        assert (device.settle(drive).read - truth.settle(drive).z).abs().max() < 0.5 * before


# The program, before anything is sent.


@given(st.integers(1, 8), st.integers(0, 10**6), st.floats(0.1, 0.9), st.floats(0.3, 3.0))
def test_lanes_hold_the_equation(n, seed, density, full_scale):
    weight = (
        0.5
        * torch.tanh(normal(seed, n, n))
        * (torch.rand(n, n, generator=torch.Generator().manual_seed(seed)) < density)
    )
    cell = LinearCell(weight, 0.3 * normal(seed + 1, n, 2), 0.1 * normal(seed + 2, n))
    try:
        program = patch(cell, full_scale)
    except UserError:
        assume(False)
    drive = drives(2, 2, seed)
    for row, lanes in zip(drive, program.lanes(drive)):
        assert len({lane.number for lane in lanes}) == len(lanes) <= 32
        assert all(16 <= lane.number < 32 for lane in lanes if lane.source == 14)
        a, b = torch.zeros(n, n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
        for lane in lanes:
            if lane.source == 14:
                b[lane.target] += lane.coefficient
            else:
                a[lane.target, lane.source] += lane.coefficient
        scale = float(a.abs().max())
        assert scale == pytest.approx(1)
        torch.testing.assert_close(a / program.time_scale, torch.eye(n) - weight, atol=1e-12, rtol=0)
        wanted = -(row @ cell.input_weight.T + cell.bias) / full_scale
        torch.testing.assert_close(b / program.time_scale, wanted, atol=1e-12, rtol=0)


def test_flaws_round_to_twelve_bits_and_upscale_above_one():
    exact = Flaws(Chip(spec_with("lucidac", EXACT), 0))
    wanted = (0.12345, -1.0, 3.21, 0.0)
    lanes = tuple(Lane(i, 0, c, 1) for i, c in enumerate(wanted))
    found = [lane.coefficient for lane in exact.realise(lanes, 0)]
    for got, asked, step in zip(found, wanted, (STEP, STEP, 10 * STEP, STEP)):
        assert abs(got - asked) <= step / 2
        assert got / step == pytest.approx(round(got / step))
    flawed = [lane.coefficient for lane in Flaws(CHIP).realise(lanes, 0)]
    assert all(0 < abs(a - b) < 0.02 for a, b in zip(flawed, found))


def test_what_is_read_of_a_flawed_cube_is_what_the_states_saw():
    """A cube with a gain and an offset of its own is another activation: the equation holds with the z it makes."""
    flawed = EXACT | {"activation.gain_sigma": 0.3, "activation.offset_sigma_volt": 0.1}
    drive = 0.8 * torch.tensor([[1.0, -1.0], [1.0, 1.0], [-1.0, 0.5]], dtype=torch.float64)
    cell = CubicCell(torch.tensor([[0.0, 0.5], [-0.5, 0.0]]).double(), 0.7 * torch.eye(2).double())
    bent, ideal = (
        programmed(LucidacTwin(Chip(spec_with("lucidac", changes), 1)), cell).settle(drive)
        for changes in (flawed, EXACT)
    )
    system = cell.system(drive)
    residual = bent.p - (bent.z @ system.weight.T + system.injection)
    assert residual.abs().max() < 2e-3  # twelve bits
    assert (bent.z - ideal.z).abs().max() > 2e-2


def too_strong():
    return LinearCell(1.5 * torch.eye(2), torch.ones(2, 2))


REFUSED = {
    "tanh": (CircuitCell(3, 2), "activation is Tanh: the LUCIDAC has none.*CubicCell"),
    "too many states": (chain(9), "9 states: the machine has 8 integrators"),
    "fan-in": (dense(6), r"42 connections \(6 of them constants\).*32 lanes; the largest fan-in is 7, of state 0"),
    "cubics": (
        CubicCell(0.1 * torch.ones(3, 3), torch.ones(3, 2)),
        "3 cubic states, two multipliers each: the machine has 4",
    ),
    "cubic and dense": (cubic(4), "connections .*32 lanes"),
    "lost coefficient": (
        LinearCell(torch.tensor([[0.0, 1e-4], [0.0, 0.0]]), torch.ones(2, 2)),
        r"from output 1 to state 0 would be -1\.0e-04.*below half a code of 12 bits.*set its weight to 0",
    ),
    "runaway": (too_strong(), "run away"),
    "nan": (None, "inf or nan"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_cell_that_does_not_fit_is_refused_before_anything_is_sent(what, sent):
    cell, said = REFUSED[what]
    if cell is None:
        cell = chain(2)
        cell.weight[0, 0] = torch.nan
    device = LucidacDevice("emu:/")
    with pytest.raises(UserError, match=said):
        device.program(cell)
    assert sent == []


def test_all_that_does_not_fit_is_said_at_once():
    with pytest.raises(UserError) as refused:
        patch(CubicCell(0.1 * torch.ones(9, 9), torch.ones(9, 1)))
    assert len(refused.value.mistakes) == 3


def test_slopes_belong_into_the_weights():
    cell = chain(2)

    class Steep(LinearCell):
        activation = Linear(torch.tensor([1.0, 0.5]))

    with pytest.raises(UserError, match="put them into W and U"):
        patch(Steep(cell.weight, cell.input_weight))
    with pytest.raises(ValueError, match="full_scale = 0"):
        patch(cell, 0.0)


@pytest.mark.parametrize(
    ("cell", "drive", "error", "said"),
    [
        (
            chain(3),
            [[0.0, 0.0], [99.0, 0.0]],
            UserError,
            "sample 1: .*needs coefficient .*largest is ±10.*full_scale above",
        ),
        (
            chain(3),
            [[0.1, 0.0], [4.0, 4.0]],
            UserError,
            "sample 1: state . would rest at p = .*an overload.*full_scale above",
        ),
        (
            CubicCell(torch.zeros(2, 2), torch.ones(2, 2), None, torch.tensor([4.0, 0.0])),
            [[0.4, 0.0]],
            UserError,
            "state 0 would rest at p = 0.4, beyond ±0.2887 where its cubic turns",
        ),
        (LinearCell(0.9999 * torch.eye(2), torch.ones(2, 2)), [[0.0, 0.0]], UserError, None),
        (
            LinearCell(torch.tensor([[0.9995, 0.0], [0.0, -1.0]]), torch.ones(2, 2)),
            [[0.0, 0.0]],
            UserError,
            "below half a code",
        ),
        (
            LinearCell(torch.tensor([[0.999, 0.0], [0.0, 0.0]]), torch.ones(2, 2)),
            [[0.0, 0.0]],
            UserError,
            "sample 0 needs 1.6 s to settle, a run lasts at most 1 s",
        ),
        (chain(2), [[0.0, float("nan")]], ValueError, "inf or nan"),
        (chain(2), [[0.0]], ValueError, r"shape \(1, 1\), expected \(batch, 2\)"),
        (chain(2), torch.zeros(0, 2).tolist(), ValueError, "drive has shape|no sample"),
    ],
)
def test_a_drive_that_does_not_fit_is_refused_before_anything_is_sent(cell, drive, error, said, sent):
    device = LucidacDevice("emu:/")
    if said is None:  # uniformly slow: the time scale makes it fast, which is the point of having one
        programmed(device, cell).settle(torch.tensor(drive))
        return
    with pytest.raises(error, match=said):
        programmed(device, cell).settle(torch.tensor(drive))
    assert sent == []


def test_the_cubic_knows_its_slope():
    p = torch.linspace(-1, 1, 21, dtype=torch.float64, requires_grad=True)
    phi = Cubic(torch.tensor(1 / 3, dtype=torch.float64))
    (slope,) = torch.autograd.grad(phi(p).sum(), p)
    torch.testing.assert_close(phi.slope(p), slope)
    with pytest.raises(ValueError, match="curvature"):
        CubicCell(torch.zeros(2, 2), torch.ones(2, 1), curvature=torch.tensor([-1.0, 0.0]))
