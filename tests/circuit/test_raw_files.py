"""Raw files are read completely or refused: never half, never as something they are not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from equilog.circuit.rawfile import RawFileError, read_raw

names = st.lists(st.text("abcdefghijklmnopqrstuvwxyz0123456789()#.", min_size=1), min_size=1, max_size=5, unique=True)


@st.composite
def plots(draw):
    columns = draw(names)
    points = draw(st.integers(0, 6))
    data = draw(hnp.arrays("<f8", (points, len(columns)), elements=st.floats(allow_nan=True, allow_infinity=True)))
    title = draw(st.sampled_from(["Operating Point", "Transient Analysis", "AC: odd title"]))
    return title, columns, data


def raw_bytes(title, columns, data, flags="real", variables=None, points=None):
    header = [
        "Title: * a circuit",
        "Date: Thu Jan  1 00:00:00  1970",
        f"Plotname: {title}",
        f"Flags: {flags}",
        f"No. Variables: {len(columns) if variables is None else variables}",
        f"No. Points: {len(data) if points is None else points}",
        "Variables:",
        *[f"\t{k}\t{name}\tvoltage" for k, name in enumerate(columns)],
        "Binary:",
        "",
    ]
    return "\n".join(header).encode() + np.ascontiguousarray(data, "<f8").tobytes()


def read(tmp_path, content):
    path = tmp_path / "x.raw"
    path.write_bytes(content)
    return read_raw(path)


@given(st.lists(plots(), min_size=1, max_size=3))
def test_what_is_written_is_read(tmp_path, written):
    found = read(tmp_path, b"".join(raw_bytes(*plot) for plot in written))
    assert len(found) == len(written)
    for ours, (title, columns, data) in zip(found, written):
        assert ours.title == title
        assert ours.names == tuple(columns)
        np.testing.assert_array_equal(ours.data, data)
        for k, name in enumerate(columns):
            np.testing.assert_array_equal(ours[name], data[:, k])


@given(st.lists(plots(), min_size=1, max_size=2), st.data())
def test_truncated_anywhere_is_refused(tmp_path, written, data):
    whole = b"".join(raw_bytes(*plot) for plot in written)
    last = len(raw_bytes(*written[-1]))
    cut = data.draw(st.integers(1, last - 1))  # within the last plot
    if len(whole) - cut == 0:
        return
    with pytest.raises(RawFileError):
        read(tmp_path, whole[:-cut])


@given(st.binary(max_size=200))
def test_garbage_is_refused(tmp_path, content):
    with pytest.raises(RawFileError):
        read(tmp_path, content)


@given(plots(), st.binary(max_size=60).filter(bytes.strip))
def test_garbage_after_a_plot_is_refused(tmp_path, plot, rest):
    with pytest.raises(RawFileError):
        read(tmp_path, raw_bytes(*plot) + b"!" + rest)


def test_empty_is_refused(tmp_path):
    with pytest.raises(RawFileError, match="holds no plot"):
        read(tmp_path, b"")


def test_complex_is_refused(tmp_path):
    with pytest.raises(RawFileError, match="complex"):
        read(tmp_path, raw_bytes("AC", ["a"], np.zeros((2, 1)), flags="complex"))


@pytest.mark.parametrize("points", [-1, -5, 10**30])
def test_absurd_counts_are_refused(tmp_path, points):
    with pytest.raises(RawFileError):
        read(tmp_path, raw_bytes("x", ["a"], np.zeros((2, 1)), points=points))


@pytest.mark.parametrize("variables", [0, 2, -1, "many", ""])
def test_counts_that_contradict_the_names_are_refused(tmp_path, variables):
    with pytest.raises(RawFileError):
        read(tmp_path, raw_bytes("x", ["a"], np.zeros((2, 1)), variables=variables))


def test_malformed_variable_line_is_named(tmp_path):
    content = raw_bytes("x", ["a"], np.zeros((2, 1))).replace(b"\t0\ta\tvoltage", b"\t0")
    with pytest.raises(RawFileError, match="malformed variable line"):
        read(tmp_path, content)


def test_names_are_found_whatever_their_case_and_missing_ones_named(tmp_path):
    (plot,) = read(tmp_path, raw_bytes("Operating Point", ["V(Out)"], np.ones((1, 1))))
    assert plot["v(out)"] == plot["V(OUT)"] == 1
    with pytest.raises(KeyError, match=r"no vector 'v\(in\)' in plot 'Operating Point'"):
        plot["v(in)"]


@pytest.mark.ngspice
def test_several_plots_of_the_real_simulator(tmp_path, simulator):
    (tmp_path / "two.cir").write_text(
        "* two\nV1 a 0 dc 2 pulse(0 2 0 1n 1n 1u 2u)\nR1 a b 1k\nC1 b 0 1n\n.control\nset filetype=binary\n"
        "set appendwrite\nop\nwrite two.raw v(a) v(b)\ntran 10n 3u\nwrite two.raw v(a) v(b)\nquit 0\n.endc\n.end\n"
    )
    op, tran = simulator.run(tmp_path, "two.cir", "two.raw")
    assert op["v(b)"].shape == (1,)
    assert tran["time"][-1] == pytest.approx(3e-6)
    assert (np.diff(tran["time"]) > 0).all()
