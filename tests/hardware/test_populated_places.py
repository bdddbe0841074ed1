"""Where a cell wants no devices there are none: on no chip, at no age, in no wire, of no effect."""

import pytest
import torch
from builders import CONTINUOUS, apart_cell, chain_law, drives, matrices, poisson_law, spec_with
from golden.registry import EVERY_STATIC_EFFECT, PCM_DRIFT, READ_NOISE, RELAXATION, STUCK, WIRES

from equilog.cells import CircuitCell, FixedCoupling
from equilog.devices import TwinDevice
from equilog.hardware import Chip, Conditions, Population, load_spec, program, program_cell, without
from equilog.hardware.noise import noise_at_rest
from equilog.hardware.rest import at_rest
from equilog.hardware.transient import Transient
from equilog.hardware.twin import static_system
from equilog.training.adapt import identify
from equilog.training.gradients.fixed_cell import FixedCell
from equilog.training.losses.devices import asked_siemens, device_variance
from equilog.yields.population import population

CELL = apart_cell(6, 3, chain_law(6, 3, 4, linear=3), seed=2).requires_grad_(False)
ALONE = apart_cell(4, 3, chain_law(4, 3, 4, linear=4)).requires_grad_(False)
EFFECTS = {
    "none": {},
    "drift": {"crossbar.drift": PCM_DRIFT},
    "relaxation": {"crossbar.relaxation": RELAXATION},
    "stuck": {"crossbar.stuck": STUCK | {"low_fraction": 0.4, "high_fraction": 0.4}},
    "read noise": {"crossbar.read_noise": READ_NOISE},
    "E series": {"crossbar.e_series": "E96", "crossbar.levels": None},
    "temperature": {"crossbar.temperature": {"per_kelvin": -1e-3, "reference_kelvin": 300.0}},
    "wires": {"crossbar.wires": WIRES},
    "all": EVERY_STATIC_EFFECT,
}


def when(seed=1):
    return Conditions(3600.0, 330.0, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize("wires", ["exact", "first-order"])
def test_nothing_conducts_there_after_any_effect(effect, wires):
    spec, where = spec_with("rram", EFFECTS[effect]), CELL.populated
    one = program_cell(CELL, Chip(spec, 1), when(), wires=wires)
    crowd = program_cell(CELL, Population(spec, (1, 2, 3)), when(), wires=wires)
    for layer in (one, crowd):
        for g in (layer.g_plus_siemens, layer.g_minus_siemens):
            assert (g[..., ~where] == 0).all()
            assert (g[..., where] > 0).double().mean() > 0.2
    # The devices that are there are those of a full crossbar: the chip's draws do not depend on who is missing.
    full = program(CELL.matrices(), Chip(spec, 1), when(), fixed=CELL.fixed, wires=wires)
    assert torch.equal(one.g_plus_siemens[where], full.g_plus_siemens[where])
    assert (full.g_plus_siemens[~where] > 0).any()
    assert one.row_conductance_siemens[0] < full.row_conductance_siemens[0]


@pytest.mark.parametrize("wires", [{}, {"crossbar.wires": WIRES}], ids=["ideal wires", "wires"])
@pytest.mark.parametrize("cell", [CELL, ALONE], ids=["hidden neurons", "alone"])
def test_a_population_is_its_chips(wires, cell):
    spec, seeds = spec_with("rram", wires), (3, 7, 11)
    played = drives(4, 3)
    crowd = program_cell(cell, Population(spec, seeds))
    chips = [program_cell(cell, Chip(spec, seed)) for seed in seeds]
    together = population(chips)
    moving = Transient(crowd, played)
    grid = torch.linspace(0, 5 * crowd.time_constant_second, 6, dtype=torch.float64)
    for k, alone in enumerate(chips):
        for name in ("g_plus_siemens", "transfer_siemens", "load_siemens", "act_gain"):
            torch.testing.assert_close(getattr(crowd, name)[k], getattr(alone, name), rtol=1e-12, atol=1e-18)
            assert torch.equal(getattr(together, name)[k], getattr(alone, name))
        here = at_rest(alone, played)
        wave = Transient(alone, played).at(grid).v_volt
        torch.testing.assert_close(moving.at(grid).v_volt[:, k], wave, rtol=0, atol=2e-5 * moving.v_a)
        v = here.p * float(spec.activation.v_scale_volt)
        every = v.expand(3, *v.shape)
        own, all_ = noise_at_rest(alone, v), noise_at_rest(crowd, every)
        torch.testing.assert_close(all_.rms_volt[k], own.rms_volt, rtol=1e-5, atol=0)
    assert torch.equal(together.populated, cell.populated)
    assert crowd.devices == 3 * chips[0].devices


def test_without_devices_there_are_no_wires():
    spec = spec_with("rram", {"crossbar.wires": WIRES})
    layer, bare = (program_cell(ALONE, Chip(s, 0)) for s in (spec, without(spec, "wires")))
    assert (layer.devices, layer.wires, layer.wired) == (0, None, False)
    assert torch.equal(layer.transfer_siemens, bare.transfer_siemens)
    assert torch.equal(layer.load_siemens, bare.load_siemens)
    assert program_cell(CELL, Chip(spec, 0)).wired


def test_absent_devices_load_no_line():
    """As devices that are asked for nothing, on a technology whose devices can all but be switched off."""
    spec = spec_with("rram", CONTINUOUS | {"crossbar.wires": WIRES, "crossbar.g_min_siemens": 1e-15})
    with_, without_ = program_cell(CELL, Chip(spec, 0)), program(CELL.matrices(), Chip(spec, 0), fixed=CELL.fixed)
    for name in ("transfer_siemens", "load_siemens"):
        torch.testing.assert_close(getattr(with_, name), getattr(without_, name), rtol=1e-8, atol=1e-13)
    assert without_.transfer_siemens.abs().max() > 1e-6


def test_first_order_wires_are_exact_ones_as_resistance_falls():
    errors = []
    for r in (1.0, 0.1):
        spec = spec_with("rram", {"crossbar.wires": {"word_line_ohm": r, "bit_line_ohm": r}})
        exact, first = (program_cell(CELL, Chip(spec, 0), wires=w).transfer_siemens for w in ("exact", "first-order"))
        ideal = program_cell(CELL, Chip(without(spec, "wires"), 0)).transfer_siemens
        assert (exact - ideal).abs().max() > 20 * (exact - first).abs().max() > 0
        errors.append(float((exact - first).abs().max()))
    assert errors[1] < errors[0] / 50  # second order


def test_r_f_is_chosen_from_what_is_there():
    spec = spec_with("rram")
    bar, unit = spec.crossbar, float(spec.activation.v_scale_volt)
    scales = torch.tensor([unit / float(spec.activation.v_out_volt)] * 4 + [unit / float(spec.dac.full_scale_volt)] * 4)
    largest = float((ALONE.fixed.columns() * scales).abs().max())
    layer = program_cell(ALONE, Chip(spec, 0))
    assert float(layer.r_feedback_ohm) == pytest.approx(largest / (bar.g_max_siemens - bar.g_min_siemens), rel=1e-6)


def test_gradients_reach_weights_and_no_absent_device():
    cell = apart_cell(5, 2, chain_law(5, 2, 3, linear=3))
    spec = spec_with("rram", CONTINUOUS | {"crossbar.wires": WIRES})
    parameters = [p.detach().clone().requires_grad_() for p in cell.parameters()]
    names = [name for name, _ in cell.named_parameters()]

    def realised(*values):
        found = torch.func.functional_call(_Matrices(cell), {f"cell.{k}": v for k, v in zip(names, values)}, ())
        layer = program(found, Chip(spec, 2), fixed=cell.fixed, populated=cell.populated)
        return layer.effective, layer.load_siemens * 1e5, layer.r_feedback_ohm / 1e4

    assert torch.autograd.gradcheck(realised, parameters, atol=2e-5)


class _Matrices(torch.nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def forward(self):
        return self.cell.matrices()


def test_the_variance_of_devices_is_that_of_chips():
    spec = spec_with("rram", {"crossbar.levels": None})
    crowd, one = program_cell(CELL, Population(spec, tuple(range(300)))), program_cell(CELL, Chip(spec, 0))
    seen = torch.stack([crowd.g_plus_siemens, crowd.g_minus_siemens], 1).var(0)
    said = device_variance(one)
    assert (said[:, ~CELL.populated] == 0).all()
    assert (asked_siemens(one)[:, ~CELL.populated] == 0).all()
    assert (said[:, CELL.populated] > 0).all()
    ratio = seen.sum() / said.sum()
    assert float(ratio) == pytest.approx(1, abs=0.1)


def test_a_chip_with_absent_devices_is_identified():
    spec = spec_with("rram", {"adc.bits": 16})
    device = TwinDevice(Chip(spec, 5))
    device.program(CELL)
    # Small drives: states without an activation are not to leave the ADCs' range.
    found = identify(device, CELL, spec, 0.3 * drives(60, 3, 1), check=0.3 * drives(8, 3, 2))
    assert found.rms_after < found.rms_before / 100


def test_cells_of_other_kinds_keep_the_places():
    fixed = FixedCell.of(CELL)
    assert torch.equal(fixed.populated, CELL.populated)
    wider = fixed.with_columns(torch.eye(6).double())
    layer = program_cell(wider, Chip(spec_with("rram"), 0))
    assert layer.drives == 9
    assert torch.equal(layer.populated[:, 9:15], torch.eye(6).bool())
    assert torch.equal(layer.populated[:, :9], CELL.populated[:, :9])
    assert torch.equal(layer.populated[:, -1], CELL.populated[:, -1])


def test_another_precision_keeps_the_mask():
    layer = program_cell(CELL, Chip(load_spec("rram"), 0)).to(torch.float32)
    assert layer.populated.dtype == torch.bool
    assert layer.target.dtype == torch.float32


def test_masks_that_do_not_fit_are_refused():
    chip, weights = Chip(load_spec("rram"), 0), matrices(4, 2)
    where = torch.ones(4, 7, dtype=torch.bool)
    program(weights, chip, populated=where)
    for wrong in (where[:, :6], where.double()):
        with pytest.raises(ValueError, match=r"expected torch\.bool of shape \(4, 7\)"):
            program(weights, chip, populated=wrong)
    where[2, 5] = False
    with pytest.raises(ValueError, match="in row 2, column 5"):
        program(weights, chip, populated=where)


def grid_cell(apart):
    torch.manual_seed(0)
    return CircuitCell(16, 16, fixed=FixedCoupling.of(poisson_law(4)), apart=apart).double()


def rms_error(spec, cell):
    d = drives(4, 16, 9)
    cell.requires_grad_(False)
    law = poisson_law(4)
    exact = torch.linalg.solve(torch.eye(16).double() - law.weight, law.input_weight @ d.T).T
    crowd = program_cell(cell, Population(spec, tuple(range(10))))
    system = static_system(crowd, d)
    eye = torch.eye(16).double()
    assert cell.fixed.linear == 16
    # All linear: what rests is a matrix inverse, with gain and shift of the outputs.
    gain, shift = system.activation.gain, system.activation.shift
    right = system.injection - (gain * shift) @ system.weight.mT
    p = torch.linalg.solve(eye - system.weight * gain, right.mT).mT
    return float((gain * (p - shift) - exact).square().mean().sqrt() / exact.abs().max())


def test_idle_devices_were_most_of_the_error():
    """Ten chips: without the neurons' own errors a law alone errs by its resistors' tolerance and no more."""
    spec = without(load_spec("rram"), "amplifier-offset", "finite-gain")
    beside, apart = (rms_error(spec, grid_cell(apart)) for apart in (False, True))
    assert apart < beside / 20
    assert 0 < apart < 0.003
    assert rms_error(load_spec("rram"), grid_cell(True)) > 5 * apart  # offsets are what is left
