"""A law checks what it is given and what its function returns: shapes, precision, batches, units."""

import pytest
import torch
from builders import normal

from equilog.equilibrium import EquilibriumLayer
from equilog.priors import Constant, Field, Law
from equilog.priors import units as unit_strings

PRESSURE, LOAD = Field("pressure", (4,), "Pa"), Field("load", (4,), "Pa/m^2")


def stiff(z, x, step):
    """A law with one root: (z + z³/Pa²)/h² = x."""
    return (z + 0.1 * z**3) / step**2 - x


def number(z, x):
    return z + 0.1 * z**3 - x


PLAIN = Law(number, Field("state", (4,)), Field("load", (4,)))


def fields(unit="Pa/m^2", step="m", load="Pa/m^2"):
    pint = pytest.importorskip("pint")
    assert pint
    return Law(
        lambda z, x, step: z / step**2 - x,
        PRESSURE,
        Field("load", (4,), load),
        unit=unit,
        constants={"step": Constant(0.1, step)},
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [1, 7])
def test_precision_and_batch_are_those_of_the_state(dtype, batch):
    z = normal(0, batch, 4).to(dtype)
    r = PLAIN(z, z)
    assert r.dtype == dtype
    assert r.shape == (batch, 4)


def test_consistency_is_the_root_mean_square_in_units_of_the_scale():
    law = Law(number, Field("state", (4,)), Field("load", (4,)), scale=2.0)
    z, x = torch.zeros(2, 4), torch.tensor([[2.0, 2, 2, 2], [4, 0, 0, 0]])
    torch.testing.assert_close(law.consistency(z, x), torch.tensor([1.0, 1.0]))
    each = Law(number, Field("state", (4,)), Field("load", (4,)), scale=torch.tensor([4.0, 1, 1, 1]))
    torch.testing.assert_close(each.consistency(z, x)[1], torch.tensor(0.5))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(2, 3), torch.zeros(2, 4)), r"state has shape \(2, 3\): expected \(batch, 4\)"),
        ((torch.zeros(2, 4), torch.zeros(2, 5)), r"load has shape \(2, 5\): expected \(2, 4\)"),
        ((torch.zeros(2, 4), torch.zeros(3, 4)), r"load has shape \(3, 4\): expected \(2, 4\)"),
        ((torch.zeros(4), torch.zeros(4)), r"state has shape \(4,\)"),
        ((torch.zeros(2, 4),), r"0 sources: expected 1 \(load\)"),
        ((torch.zeros(2, 4, dtype=torch.int64), torch.zeros(2, 4)), "state is of torch.int64: expected"),
        (([1.0], torch.zeros(2, 4)), "state is a list: expected a tensor"),
    ],
)
def test_arguments_that_do_not_fit_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        PLAIN(*arguments)


@pytest.mark.parametrize(
    ("residual", "message"),
    [
        (lambda z: z[:, :3], r"residual has shape \(2, 3\): expected \(2, 4\)"),
        (lambda z: z[:1], r"residual has shape \(1, 4\): expected \(2, 4\)"),
        (lambda z: z.sum(), r"residual has shape \(\): expected \(2, 4\)"),
        (lambda z: z.float(), "residual is of torch.float32: expected torch.float64, that of state"),
        (lambda z: None, "residual is a NoneType: expected a tensor"),
    ],
)
def test_a_function_that_returns_something_else_is_refused_at_once(residual, message):
    with pytest.raises(ValueError, match=message):
        Law(residual, Field("state", (4,)))


def test_arguments_of_the_law_itself():
    with pytest.raises(ValueError, match=r"scale = 0\.0: expected positive"):
        Law(number, Field("state", (4,)), Field("load", (4,)), scale=0.0)
    with pytest.raises(ValueError, match=r"scale has shape \(3,\): expected that of the residual, \(4,\)"):
        Law(number, Field("state", (4,)), Field("load", (4,)), scale=torch.ones(3))
    with pytest.raises(ValueError, match="field 'p' of shape"):
        Field("p", (0, 2))
    with pytest.raises(ValueError, match="expected a name"):
        Field("", (2,))


def test_units_that_combine_are_taken():
    law = fields()
    z, x = normal(1, 3, 4), normal(2, 3, 4)
    torch.testing.assert_close(law(z, x), z / 0.01 - x)
    # Any function, also of numbers that only a ratio makes: an exponential of volts over volts.
    Law(
        lambda v, i, i_s, v_t: i_s * torch.expm1(v / v_t) - i,
        Field("voltage", (2,), "V"),
        Field("current", (2,), "A"),
        unit="A",
        constants={"i_s": Constant(1e-3, "A"), "v_t": Constant(0.5, "V")},
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unit": "Pa/m"}, r"pressure \[Pa\], load .* step \[m\]: it does not scale .*\[length\]"),
        ({"load": "Pa"}, r"does not scale .*\[length\]"),
        ({"step": "s"}, r"does not scale"),
        ({"step": ""}, "does not scale"),
        ({"step": "mm"}, "other sizes than the formula combines: give all in SI"),
        ({"unit": "mbar/m^2"}, "other sizes"),
        ({"unit": "Pascals/hopper"}, "unit 'Pascals/hopper' of residual: .*expected one that pint reads"),
        ({"load": "degC"}, "unit 'degC' of load has a zero of its own"),
    ],
)
def test_units_that_do_not_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        fields(**changes)


def test_a_number_with_a_dimension_must_be_declared():
    pytest.importorskip("pint")
    with pytest.raises(ValueError, match="Declare every number with a dimension as a Constant"):
        Law(stiff, PRESSURE, LOAD, unit="Pa/m^2", constants={"step": Constant(0.1, "m")})  # 0.1 z³: a coefficient


def test_without_pint_nothing_about_units_is_checked(monkeypatch):
    monkeypatch.setattr(unit_strings, "registry", lambda: None)
    law = fields(unit="furlongs per", step="s")
    assert law.unit == "furlongs per"
    unit_strings.agree("Pa", "s", "anything")


def test_agree_compares_dimension_and_size():
    pytest.importorskip("pint")
    unit_strings.agree("N/m^2", "Pa", "load")
    unit_strings.agree("", "m/m", "ratio")
    with pytest.raises(ValueError, match=r"unit 's' of load has dimension \[time\]: expected \[length\], as 'm'"):
        unit_strings.agree("s", "m", "load")
    with pytest.raises(ValueError, match=r"unit 'mm' of load is 0\.001 of 'm'"):
        unit_strings.agree("mm", "m", "load")


def test_the_map_rests_where_the_law_holds_with_its_gradient():
    settle = EquilibriumLayer(on_failure="raise")
    x = normal(3, 5, 4).requires_grad_()
    z = settle.fixed_point(PLAIN.as_map(0.4), torch.zeros(5, 4, dtype=torch.float64), x)
    assert float(PLAIN.consistency(z.detach(), x.detach()).max()) < 1e-8
    (got,) = torch.autograd.grad(z.sum(), x)
    torch.testing.assert_close(got, 1 / (1 + 0.3 * z.detach() ** 2), rtol=1e-6, atol=1e-8)
    each = settle.fixed_point(PLAIN.as_map(torch.full((4,), 0.2)), torch.zeros_like(z), x.detach())
    torch.testing.assert_close(each, z.detach(), rtol=0, atol=1e-6)


def test_only_a_law_with_as_many_equations_is_a_map():
    total = Law(lambda z: z.sum(1, keepdim=True), Field("state", (4,)), shape=(1,))
    assert total(torch.ones(2, 4)).shape == (2, 1)
    with pytest.raises(ValueError, match=r"residual of shape \(1,\) for state of shape \(4,\)"):
        total.as_map(0.1)
    with pytest.raises(ValueError, match="damping = -1"):
        PLAIN.as_map(-1.0)


def test_gradients_of_both_orders():
    z, x = normal(4, 2, 4).requires_grad_(), normal(5, 2, 4).requires_grad_()
    assert torch.autograd.gradcheck(PLAIN, (z, x))
    assert torch.autograd.gradgradcheck(PLAIN, (z, x))
