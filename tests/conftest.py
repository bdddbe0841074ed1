"""What every test shares: one thread, fixed seeds, and a simulator that must be there."""

import os

import pytest
import torch
from hypothesis import HealthCheck, settings

from equilog.circuit import Ngspice, NgspiceMissingError, find_ngspice

torch.set_num_threads(1)
# pytest-xdist sets it to its own terminal's width, which a console that is made on import would keep for good.
os.environ.pop("COLUMNS", None)

settings.register_profile(
    "equilog",
    deadline=None,
    max_examples=40,
    derandomize=True,  # the same examples every time: a red test is red for everybody
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("equilog")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def simulator() -> Ngspice:
    """The real ngspice: a declared dependency of the tests, so its absence is a failure and not a skip."""
    try:
        return find_ngspice()
    except NgspiceMissingError as missing:
        pytest.fail(str(missing), pytrace=False)
