"""The page on adding a device works as printed: its code runs, its bench is one, its numbers hold."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from equilog.devices.instrument_bench import bench_from_data
from equilog.names import UserError

PAGE = (Path(__file__).parents[2] / "docs" / "add-a-device.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def page() -> SimpleNamespace:
    namespace: dict[str, object] = {}
    exec("\n".join(blocks("python")), namespace)
    return SimpleNamespace(**namespace)


def test_the_device_takes_forty_lines():
    assert len([line for line in blocks("python")[0].splitlines() if line.strip()]) <= 40


def test_calibration_undoes_the_board_as_printed(page):
    assert page.before > 0.02
    assert page.after < 1e-6


def test_the_lucidac_example_agrees_as_printed(page):
    assert 0 < page.gap < 3e-4


def test_the_example_refuses_what_it_says_it_refuses(page):
    device = page.BoardDevice(page.SimulatedBoard())
    with pytest.raises(RuntimeError, match="program the device"):
        device.settle(torch.zeros(1, 2))
    device.program(page.cell)
    for drive in ([[1.1, 0.0]], [[float("nan"), 0.0]]):
        with pytest.raises(UserError, match="scale it down"):
            device.settle(torch.tensor(drive))

    def broken(_):
        raise OSError("cable")

    device.board.play_and_read = lambda volts: broken(volts) if any(volts) else None
    with pytest.raises(page.DeviceError, match="does not answer: cable"):
        device.settle(torch.ones(1, 2))


def test_the_bench_as_printed_is_one():
    (text,) = blocks("yaml")
    bench = bench_from_data(yaml.safe_load(text))
    assert [c for block in bench.states for c in block.channels] == [101, 102, 103]
    assert bench.drives[0].write.format(channel=1, volt=0.5) == "VOLT 0.5000,(@1)"
