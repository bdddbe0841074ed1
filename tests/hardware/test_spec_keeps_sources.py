"""Numbers keep their provenance: in presets, through YAML, through copies and pickles."""

import copy
import math
import pickle

import pytest
import yaml
from builders import spec_with
from hypothesis import given
from hypothesis import strategies as st

from equilog.hardware import Figure, load_spec, preset_names
from equilog.hardware.technology.spec import spec_from_data

finite = st.floats(allow_nan=False, allow_infinity=False)
words = st.text(min_size=1)


@pytest.mark.parametrize("preset", preset_names())
def test_every_number_of_every_preset_has_a_source(preset):
    spec = load_spec(preset)
    assert spec.name == preset
    assert spec.unsourced() == []
    assert all(figure.source.strip() for figure in spec.figures().values())
    sigma = spec.crossbar.programming_sigma
    assert sigma is None or sigma.source.strip()


@pytest.mark.parametrize("preset", preset_names())
def test_round_trip_through_yaml_keeps_numbers_and_sources(preset, tmp_path):
    spec = load_spec(preset)
    path = tmp_path / "copy.yaml"
    path.write_text(yaml.safe_dump(spec.model_dump(mode="json"), allow_unicode=True), encoding="utf-8")
    again = load_spec(path)
    assert again == spec
    for name, figure in spec.figures().items():
        assert vars(again.figures()[name]) == vars(figure), name
    assert spec_from_data(yaml.safe_load(yaml.safe_dump(spec.model_dump())), "x") == spec


@pytest.mark.parametrize(
    "source", [{}, {"source": None}, {"source": ""}, {"source": "  "}], ids=["none", "null", "empty", "blank"]
)
def test_a_number_without_a_source_is_listed(source):
    spec = spec_with("rram", {"amplifier.gbw_hertz": {"value": 1e8} | source})
    assert spec.unsourced() == ["amplifier.gbw_hertz"]


def test_numbers_as_people_write_them_in_yaml():
    # YAML 1.1 reads 1e8 as a string.
    spec = spec_from_data(
        spec_with("rram").model_dump()
        | {
            "dac": yaml.safe_load(
                "{bits: 8, full_scale_volt: 2e-1, conversion_second: 1e-8, energy_joule: {value: 1e-12, low: 1e-13}}"
            )
        },
        "x",
    )
    assert spec.dac.full_scale_volt == 0.2
    assert spec.dac.energy_joule.low == 1e-13


@given(finite, finite)
def test_a_figure_computes_like_the_float_it_is(value, other):
    figure = Figure(value, "somewhere")
    assert figure == value
    assert hash(figure) == hash(value)
    assert repr(float(figure)) == repr(value)
    assert type(figure + other) is float
    assert repr(figure * other) == repr(value * other)
    assert sorted([figure, other]) == sorted([value, other])


@given(finite, words, st.none() | finite, st.none() | finite, st.text())
def test_copies_and_pickles_keep_the_provenance(value, source, low, high, valid):
    low = None if low is None else min(low, value)
    high = None if high is None else max(high, value)
    figure = Figure(value, source, low, high, valid)
    for again in (pickle.loads(pickle.dumps(figure)), copy.copy(figure), copy.deepcopy(figure)):
        assert type(again) is Figure
        assert again == figure
        assert vars(again) == vars(figure)


@given(finite, st.none() | finite, st.none() | finite)
def test_bounds_enclose_the_value_or_are_refused(value, low, high):
    fits = (low is None or low <= value) and (high is None or value <= high)
    if fits:
        bottom, typical, top = Figure(value, low=low, high=high).bounds()
        assert bottom <= typical <= top
        assert typical == value
        assert bottom == (value if low is None else low)
        assert top == (value if high is None else high)
    else:
        with pytest.raises(ValueError, match="outside its own range"):
            Figure(value, low=low, high=high)


@given(st.floats(1e-30, 1e30), words.filter(str.strip), st.none() | st.floats(0, 1), st.none() | st.floats(1, 10))
def test_a_figure_written_as_data_reads_back_the_same(value, source, low, high):
    figure = Figure(value, source, None if low is None else low * value, None if high is None else high * value, "here")
    again = Figure._parse(yaml.safe_load(yaml.safe_dump(figure.to_data())))
    assert again == figure
    assert vars(again) == vars(figure)
    assert math.copysign(1, again) == 1


def test_a_bare_number_stays_bare():
    assert Figure(3.5).to_data() == 3.5
