"""Sounds are read whole or refused by name, split as documented, and heard on a scale that others tabulated."""

from __future__ import annotations

import io
import struct
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from archives import in_folder, in_tar, in_zip
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from equilog.baselines.audio_cnn import AudioCnn
from equilog.baselines.matching import matched, parameter_count
from equilog.equilibrium import EquilibriumLayer
from equilog.names import UserError
from equilog.tasks import get_task
from equilog.tasks.damage import DamagedError
from equilog.tasks.sequence.heard import confusions
from equilog.tasks.sequence.mel import LogMel, hertz_to_mel, mel_filters, mel_frequencies, mel_to_hertz
from equilog.tasks.sequence.sound_augment import masked, noisy, shifted, stretched
from equilog.tasks.sequence.spoken_digits import SpokenDigits
from equilog.tasks.sequence.wav import decode_wav
from equilog.tasks.task import ModelConfig


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def wav(samples: np.ndarray, rate: int = 8000, channels: int = 1, depth: int = 2) -> bytes:
    held = io.BytesIO()
    with wave.open(held, "wb") as made:
        made.setnchannels(channels)
        made.setsampwidth(depth)
        made.setframerate(rate)
        made.writeframes(samples.tobytes())
    return held.getvalue()


def tone(seed: int = 0, length: int = 2000) -> np.ndarray:
    rng = np.random.default_rng(seed)
    wave_ = np.sin(2 * np.pi * rng.uniform(200, 3000) / 8000 * np.arange(length))
    return (8000 * wave_ + rng.normal(0, 100, length)).astype("<i2")


def recordings(speakers: tuple[str, ...] = ("theo", "george"), numbers: range = range(3, 8)) -> dict[str, bytes]:
    return {
        f"recordings/{digit}_{speaker}_{number}.wav": wav(tone(1000 * digit + number + 100 * len(speaker)))
        for digit in (0, 7)
        for speaker in speakers
        for number in numbers
    }


def test_samples_are_read_to_the_digit() -> None:
    samples = np.array([0, 1, -1, 32767, -32768, 5], "<i2")
    found = decode_wav(wav(samples), 8000)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, samples / 32768)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "unreadable sound"),
        (b"RIFF", "unreadable sound"),
        (b"not a sound at all, but long enough for a header" * 3, "unreadable sound"),
        (wav(tone(), rate=16000), "sound of another rate (16000 Hz, expected 8000)"),
        (wav(tone(), channels=2), "sound of several channels (2, expected 1)"),
        (wav(tone(), depth=1), "sound of another depth (8 bits, expected 16)"),
        (wav(tone()[:0]), "empty sound"),
        (wav(tone())[:-1001], "truncated sound (1499 of 2000 samples)"),
    ],
)
def test_what_is_no_whole_sound_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(DamagedError) as refused:
        decode_wav(content, 8000)
    assert str(refused.value).startswith(reason)


@given(cut=st.integers(0, 4043), junk=st.binary(max_size=40), at=st.integers(0, 43))
def test_a_sound_cut_or_scribbled_on_is_whole_or_refused(cut: int, junk: bytes, at: int) -> None:
    content = wav(tone())
    for damaged in (content[:cut], content[:at] + junk + content[at + len(junk) :]):
        try:
            found = decode_wav(damaged, 8000)
        except DamagedError:
            continue
        assert 0 < len(found) <= len(damaged) // 2


def test_a_format_that_is_not_pcm_is_refused() -> None:
    content = bytearray(wav(tone()))
    struct.pack_into("<H", content, 20, 3)  # floating point
    with pytest.raises(DamagedError, match="unreadable sound"):
        decode_wav(bytes(content), 8000)


def test_mels_are_those_that_librosa_tabulates() -> None:
    # librosa.mel_frequencies(n_mels=40) and the examples of hz_to_mel and mel_to_hz, as its documentation prints them.
    printed = (
        "0. 85.317 170.635 255.952 341.269 426.586 511.904 597.221 682.538 767.855 853.173 938.49 1024.856 1119.114 "
        "1222.042 1334.436 1457.167 1591.187 1737.532 1897.337 2071.84 2262.393 2470.47 2697.686 2945.799 3216.731 "
        "3512.582 3835.643 4188.417 4573.636 4994.285 5453.621 5955.205 6502.92 7101.009 7754.107 8467.272 9246.028 "
        "10096.408 11025."
    )
    expected = torch.tensor([float(word) for word in printed.split()], dtype=torch.float64)
    torch.testing.assert_close(mel_frequencies(40, 0.0, 11025.0), expected, atol=6e-4, rtol=0)
    hertz = torch.tensor([60.0, 110.0, 220.0, 440.0], dtype=torch.float64)
    torch.testing.assert_close(hertz_to_mel(hertz), torch.tensor([0.9, 1.65, 3.3, 6.6], dtype=torch.float64))
    mels = torch.tensor([1.0, 2, 3, 4, 5, 20, 40], dtype=torch.float64)
    printed_hertz = torch.tensor([66.667, 133.333, 200.0, 266.667, 333.333], dtype=torch.float64)
    torch.testing.assert_close(mel_to_hertz(mels)[:5], printed_hertz, atol=6e-4, rtol=0)
    torch.testing.assert_close(hertz_to_mel(mel_to_hertz(mels)), mels)


def test_bands_are_triangles_of_area_one() -> None:
    filters = mel_filters(10, 4096, 8000)
    torch.testing.assert_close(filters.sum(1) * 8000 / 4096, torch.ones(10).double(), atol=2e-3, rtol=0)
    edges = mel_frequencies(12, 0.0, 4000.0)
    hertz = torch.arange(2049, dtype=torch.float64) * 8000 / 4096
    torch.testing.assert_close(hertz[filters.argmax(1)], edges[1:-1], atol=2.0, rtol=0)
    assert torch.equal(filters[3] > 0, (hertz > edges[3]) & (hertz < edges[5]))
    with pytest.raises(ValueError, match="100 bands from a window of 64 samples"):
        mel_filters(100, 64, 8000)


def test_a_tone_is_loudest_in_its_band_and_loudness_does_not_matter() -> None:
    transform = LogMel(8000, 32, 32)
    edges = mel_frequencies(34, 0.0, 4000.0)
    for band in (5, 12, 20, 28):
        sound = torch.sin(2 * torch.pi * float(edges[band + 1]) / 8000 * torch.arange(4000))
        found = transform(sound)
        assert found.shape == (32, 32)
        assert found[:, 4:28].mean(1).argmax() == band
        assert float(found.mean()) == pytest.approx(0, abs=1e-5)
        assert float(found.std(correction=0)) == pytest.approx(1, abs=1e-4)
    noise = torch.randn(3000) * 0.2
    torch.testing.assert_close(transform(0.5 * noise), transform(noise), atol=1e-2, rtol=0)


@pytest.mark.parametrize("length", [1, 10, 300, 2000, 20_000])
def test_sounds_of_any_length_have_as_many_frames(length: int) -> None:
    transform = LogMel(8000, 32, 32)
    assert bool(transform(torch.randn(length)).isfinite().all())
    assert float(transform(torch.zeros(length)).abs().max()) < 0.01
    with pytest.raises(ValueError, match=r"shape \(0,\)"):
        transform(torch.zeros(0))


def test_energy_is_against_full_scale() -> None:
    transform = LogMel(8000, 32, 4)
    sound = torch.cos(2 * torch.pi * 1000 / 8000 * torch.arange(8000))
    spectrum = torch.stft(sound, transform.size, transform.hop, window=transform.window, return_complex=True)
    energy = spectrum.abs().square() / transform.window.sum().square()
    assert float(energy[:, 50].max()) == pytest.approx(0.25, rel=1e-4)  # (amplitude / 2)²


@pytest.mark.parametrize("make", [in_folder, in_zip, in_tar])
def test_the_official_split_is_by_number(tmp_path: Path, make: object) -> None:
    place = make(
        tmp_path / {"in_folder": "set", "in_zip": "set.zip", "in_tar": "set.tar.gz"}[make.__name__], recordings()
    )
    data = get_task("spoken-digits").load(place)
    assert (len(data.train_x), len(data.test_x)) == (12, 8)  # numbers 5, 6, 7 train, 3 and 4 test
    assert data.train_x.shape[1:] == (32, 32)
    assert data.train_x.dtype == torch.float32
    assert data.test_y.tolist() == [0, 0, 7, 7, 0, 0, 7, 7]
    gap = torch.cdist(data.train_x.flatten(1), data.test_x.flatten(1))
    assert float(gap.min()) > 1
    again = get_task("spoken-digits").load(place)
    assert torch.equal(again.train_x, data.train_x)


def test_a_speaker_can_be_held_out(tmp_path: Path) -> None:
    place = in_folder(tmp_path / "set", recordings(("theo", "george", "lu")))
    alone = in_folder(tmp_path / "alone", recordings(("theo",)))
    data = SpokenDigits(held_out="theo").load(place)
    assert (len(data.train_x), len(data.test_x)) == (20, 10)
    theirs = SpokenDigits().load(alone)
    both = torch.cat([theirs.train_x, theirs.test_x])
    assert bool((torch.cdist(data.test_x.flatten(1), both.flatten(1)).min(1).values < 1e-4).all())
    assert float(torch.cdist(data.train_x.flatten(1), both.flatten(1)).min()) > 1
    with pytest.raises(UserError, match=r"no speaker 'teo' \(did you mean 'theo'\?\); expected of george, lu, theo"):
        SpokenDigits(held_out="teo").load(place)
    with pytest.raises(UserError, match="no recording to train with"):
        SpokenDigits(held_out="theo").load(alone)


def test_damaged_recordings_are_refused_by_name_or_counted(tmp_path: Path) -> None:
    bad = {
        "recordings/1_theo_9.wav": wav(tone())[:-500],
        "recordings/2_theo_9.wav": wav(tone(), rate=44100),
        "recordings/3_theo_9.wav": wav(tone()[:0]),
        "recordings/4_theo_9.wav": b"junk",
        "recordings/five_theo_9.wav": wav(tone()),
        "recordings/._5_theo_9.wav": b"a Mac's hidden twin",
        "README.md": b"not a sound",
    }
    for name, content in list(bad.items())[:5]:
        place = in_folder(tmp_path / name.replace("/", "-"), recordings() | {name: content})
        with pytest.raises(UserError, match=f"{name}: .* on_damage: skip"):
            SpokenDigits().load(place)
    task = SpokenDigits()
    task.on_damage = "skip"
    data = task.load(in_folder(tmp_path / "set", recordings() | bad))
    assert len(data.train_x) + len(data.test_x) == 20
    assert data.skipped == {
        "file name that is not digit_speaker_number.wav": 1,
        "truncated sound": 1,
        "sound of another rate": 1,
        "empty sound": 1,
        "unreadable sound": 1,
    }
    with pytest.raises(UserError, match="no recording can be used"):
        task.load(in_folder(tmp_path / "bad", dict(list(bad.items())[:4])))
    with pytest.raises(UserError, match=r"holds no recording as 7_theo_12\.wav; get https"):
        task.load(in_folder(tmp_path / "none", {"README.md": b""}))
    with pytest.raises(UserError, match="no recording to test with"):
        task.load(in_folder(tmp_path / "late", recordings(numbers=range(5, 7))))


def commands() -> dict[str, bytes]:
    """Three words in the official layout."""
    files = {
        f"{word}/{speaker}_nohash_{k}.wav": wav(tone(10 * k + len(word), 16_000 - 4000 * k), rate=16_000)
        for word in ("yes", "bed", "zero")
        for speaker in ("0a7c2a8d", "ffa76c4a", "1b4c9b89")
        for k in (0, 1)
    }
    files["validation_list.txt"] = b"yes/0a7c2a8d_nohash_0.wav\nbed/0a7c2a8d_nohash_1.wav\n"
    files["testing_list.txt"] = b"zero/ffa76c4a_nohash_0.wav\nyes/ffa76c4a_nohash_1.wav\n"
    files["_background_noise_/pink_noise.wav"] = wav(tone(length=50_000), rate=16_000)
    files["README.md"] = b"about"
    return files


@pytest.mark.parametrize("make", [in_folder, in_tar])
def test_speech_commands_are_read_by_their_lists(tmp_path: Path, make: object) -> None:
    task = get_task("speech-commands")
    assert len(task.words) == len(set(task.words)) == 35
    data = task.load(make(tmp_path / ("set" if make is in_folder else "set.tar.gz"), commands()))
    assert (len(data.train_x), len(data.test_x)) == (14, 2)
    assert data.test_y.tolist() == [task.words.index("zero"), task.words.index("yes")]
    assert sorted(set(data.train_y.tolist())) == sorted(task.words.index(w) for w in ("yes", "bed", "zero"))
    assert len(task.build(task.model_defaults)(data.test_x)[0]) == 35


def test_short_commands_are_filled_with_silence(tmp_path: Path) -> None:
    data = get_task("speech-commands").load(in_folder(tmp_path / "set", commands()))
    # 0.75 of a second: the last frames are all alike, and quieter than any other.
    quiet = data.test_x[1, :, 26:]
    torch.testing.assert_close(quiet, quiet[:, :1].expand_as(quiet), atol=1e-4, rtol=0)
    assert float(quiet.max()) <= float(data.test_x[1].min()) + 1e-4


def test_commands_that_are_not_as_expected_are_refused(tmp_path: Path) -> None:
    def without(name: str, **more: bytes) -> dict[str, bytes]:
        return {k: v for k, v in commands().items() if k != name} | more

    task = get_task("speech-commands")
    with pytest.raises(UserError, match=r"holds no testing_list\.txt; get http"):
        task.load(in_folder(tmp_path / "a", without("testing_list.txt")))
    with pytest.raises(UserError, match=r"yess/a\.wav: unknown class id \('yess' \(did you mean 'yes'\?\)\)"):
        task.load(in_folder(tmp_path / "b", commands() | {"yess/a.wav": wav(tone(), 16_000)}))
    with pytest.raises(UserError, match=r"yes/a\.wav: sound of another rate"):
        task.load(in_folder(tmp_path / "c", commands() | {"yes/a.wav": wav(tone())}))
    with pytest.raises(UserError, match="no recording to test with"):
        task.load(in_folder(tmp_path / "d", commands() | {"testing_list.txt": b"\n"}))
    with pytest.raises(UserError, match=r"testing_list\.txt is not text"):
        task.load(in_folder(tmp_path / "e", commands() | {"testing_list.txt": b"\xff\xfe\xfa"}))


def varied(seed: int) -> Tensor:
    task, x = SpokenDigits(), torch.arange(4 * 1024.0).view(4, 32, 32)
    return task.augment(x, torch.zeros(len(x)), torch.Generator().manual_seed(seed))[0]


def test_augmentation_repeats_with_its_seed() -> None:
    assert torch.equal(varied(1), varied(1))
    assert not torch.equal(varied(1), varied(2))


def test_augmentation_does_what_it_is_called() -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(64, 32, 32)
    assert torch.equal(shifted(x, draw, frames=0, bands=0), x)
    assert torch.equal(masked(x, draw, frames=0, bands=0), x)
    torch.testing.assert_close(stretched(x, draw, share=0.0), x, atol=1e-5, rtol=0)
    rows = torch.arange(32.0).expand(64, 32, 32)  # frame t holds t
    moved = shifted(rows, draw, frames=3, bands=2)[:, 0, 10]
    assert sorted(set(moved.tolist())) == [7, 8, 9, 10, 11, 12, 13]
    wide = stretched(rows, draw, share=0.2)[:, 0]
    assert float(wide[:, 0].max()) <= 0.2 * 31 + 1e-4
    assert float(wide[:, -1].min()) >= 0.8 * 31 - 1e-4
    assert bool((wide.diff(dim=1) > 0).all())
    hidden = (masked(torch.ones(500, 32, 32), draw, frames=4, bands=6) == 0).float()
    assert float(hidden.mean((1, 2)).max()) <= 1 - (28 / 32) * (26 / 32) + 1e-6
    assert int(hidden[:, :, 0].sum(1).max()) in (6, 32)
    noise = noisy(torch.zeros(500, 32, 32), draw, deviation=0.5).std((1, 2))
    assert 0.45 < float(noise.max()) < 0.52
    assert float(noise.min()) < 0.05


def test_the_model_is_a_sequence_at_rest() -> None:
    task = SpokenDigits()
    model = task.build(task.model_defaults)
    x = torch.randn(3, 32, 32)
    drive = model.parameterize(x)
    assert drive.shape == (3, task.model_defaults.drives)
    assert float(drive.detach().abs().max()) <= 1
    assert model(x).shape == (3, 10)
    torch.testing.assert_close(torch.cat([model(one[None]) for one in x]), model(x), atol=1e-4, rtol=1e-4)
    assert model.cell.certificate().margin >= task.model_defaults.margin - 1e-6
    # What is heard last reaches no state before.
    changed = drive.clone()
    changed[:, -1] = -changed[:, -1]
    model = model.double()
    before, after = (EquilibriumLayer()(model.cell.system(d.double())) for d in (drive, changed))
    torch.testing.assert_close(before[:, :-16], after[:, :-16], atol=1e-6, rtol=0)
    assert float((before - after).abs().max().detach()) > 1e-4
    torch.manual_seed(0)
    first = task.build(task.model_defaults).state_dict()
    torch.manual_seed(0)
    assert all(torch.equal(first[k], v) for k, v in task.build(task.model_defaults).state_dict().items())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ModelConfig(states=100, drives=128), "100 states and 128 drives: expected multiples of 8"),
        (ModelConfig(states=128, drives=4), "128 states and 4 drives: expected multiples of 8"),
        (ModelConfig(states=128, drives=128, margin=1.0), "margin = 1.0: expected less than 1"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(config: ModelConfig, message: str) -> None:
    with pytest.raises(UserError, match=message):
        SpokenDigits().build(config)


def test_the_worst_word_is_measured(tmp_path: Path) -> None:
    data = SpokenDigits().load(in_folder(tmp_path / "set", recordings()))

    def seven(x: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(torch.full((len(x),), 7), 10).double()

    (found,) = SpokenDigits().measures(seven, data, ideal=True)
    assert found.value == 0
    assert "'zero' is heard worst" in found.note
    answers = iter([torch.nn.functional.one_hot(data.test_y, 10).double()])
    (right,) = SpokenDigits().measures(lambda x: next(answers), data, ideal=False)
    assert right.value == 1


def test_confusions_are_counted_and_drawn(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    data = SpokenDigits().load(in_folder(tmp_path / "set", recordings()))

    def seven(x: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(torch.full((len(x),), 7), 10).double()

    counts = confusions(seven, data, 10)
    assert counts[0].tolist() == counts[7].tolist() == [0] * 7 + [4] + [0] * 2
    assert int(counts.sum()) == len(data.test_y)
    (picture,) = SpokenDigits().pictures(seven, seven, data)
    figure = Figure(figsize=picture.size, layout="constrained")
    picture.draw(figure)
    assert [axes.get_title() for axes in figure.axes] == ["ideal: 4 of 8 wrong", "on the chip: 4 of 8 wrong"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["4"]


def test_the_baseline_can_have_as_many_parameters() -> None:
    found = matched(lambda width: AudioCnn(10, width), 30_000)
    assert abs(parameter_count(found) - 30_000) < 1500
    x = torch.randn(3, 32, 32)
    torch.testing.assert_close(torch.cat([found(one[None]) for one in x]), found(x), atol=1e-5, rtol=1e-4)
    assert found(x).shape == (3, 10)
