"""The page on priors works as printed."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "priors.md").read_text(encoding="utf-8")


def test_the_page_holds_as_printed(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(code, {})
    said = dict(line.split(": ") for line in capsys.readouterr().out.splitlines())
    assert float(said["largest error of the untrained cell"]) < 1e-6
    assert float(said["largest error on an ideal chip"]) < 1e-5
    assert float(said["margin of the law"]) > 0.05
    assert float(said["residual at rest"]) < 1e-6


def test_every_law_on_the_page_is_there():
    import equilog.priors

    for name in re.findall(r"`([a-z_]+)`", PAGE[PAGE.index("| law |") : PAGE.index("`law.consistency")]):
        assert hasattr(equilog.priors, name), name
