"""Pictures beside the trusted answer hold every panel and curve, whatever the outputs are."""

import pytest
import torch

from equilog.drawing.style import document, drawing
from equilog.tasks.beside import IDEAL, TRUSTED, TWIN, curves_beside, fields_beside


def test_fields_have_three_panels_on_one_scale():
    field = torch.linspace(0, 1, 12).reshape(3, 4)
    picture = fields_beside("f", "field", "see", field, field * 2, field * torch.nan, unit="V", extent=(0, 1, 0, 1))
    with drawing("f"):
        svg = document(picture.size, picture.draw)
    assert all(name in svg for name in (TRUSTED, IDEAL, TWIN, "V", "metre"))
    assert svg.count("<image") == 4  # three maps and the scale


@pytest.mark.parametrize("constant", [True, False])
def test_curves_have_a_panel_a_quantity(constant):
    at = torch.linspace(0, 1, 5)
    curve = torch.ones(5) if constant else at
    picture = curves_beside(
        "c", "curves", "see", at, {"u": curve, "v": curve}, {"u": at, "v": at}, {"u": 9 * at, "v": at * torch.inf},
        across="time, s", up="V",
    )  # fmt: skip
    with drawing("c"):
        svg = document(picture.size, picture.draw)
    assert all(text in svg for text in ("u, V", "v, V", "time, s", TRUSTED, IDEAL, TWIN))
