"""Text sets are read exactly from their official files; damage is refused by name, or skipped and counted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from archives import in_folder, in_tar, in_zip
from tasks.sequence.text_files import PLAY, polarity_files, sentences, wikitext

from equilog.names import UserError
from equilog.tasks import Data, get_task
from equilog.tasks.damage import Skipped
from equilog.tasks.sequence.next_token import CONTEXT
from equilog.tasks.sequence.polarity import fold_of
from equilog.tasks.sequence.shakespeare import ALPHABET
from equilog.tasks.sequence.text import scored_windows, windows
from equilog.tasks.sequence.wikitext2 import vocabulary_of, words_of


def load(name: str, place: Path, on_damage: str = "refuse") -> Data:
    task = get_task(name)
    task.on_damage = on_damage
    return task.load(place)


def text_of(ids: torch.Tensor) -> str:
    return "".join(ALPHABET[int(k)] for k in ids)


def test_windows_by_hand() -> None:
    x, y = windows(torch.arange(10), 4)
    assert x.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert y.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
    x, y = scored_windows(torch.arange(10, 15), torch.arange(10), positions=4, stride=2)
    assert x.tolist() == [[7, 8, 9, 10], [9, 10, 11, 12]]
    assert y.tolist() == [[CONTEXT, CONTEXT, 10, 11], [CONTEXT, CONTEXT, 12, 13]]


@pytest.mark.parametrize("stride", [1, 3, 8])
def test_every_test_token_is_asked_for_once_from_what_is_before_it(stride: int) -> None:
    ids = torch.arange(100, 124)
    x, y = scored_windows(ids, torch.arange(100), positions=8, stride=stride)
    assert y[y != CONTEXT].tolist() == ids.tolist()
    for seen, asked in zip(x, y):
        for k in range(8):
            if asked[k] != CONTEXT:
                assert int(asked[k]) == int(seen[k]) + 1


def test_texts_that_are_too_short_are_refused() -> None:
    with pytest.raises(UserError, match="a text of 4 tokens: expected at least 5"):
        windows(torch.arange(4), 4)
    with pytest.raises(UserError, match="expected at least 2 to score, and 3 to begin with"):
        scored_windows(torch.arange(4), torch.arange(2), 4, 2)
    with pytest.raises(ValueError, match="stride = 5: expected 1 to 4"):
        scored_windows(torch.arange(40), torch.arange(40), 4, 5)


@pytest.mark.parametrize("name", ["input.txt", "tinyshakespeare.txt"])
def test_shakespeare_is_the_text(tmp_path: Path, name: str) -> None:
    text = PLAY * 40
    data = load("shakespeare", in_folder(tmp_path, {name: text.encode()}))
    cut = int(0.9 * len(text))
    count = (cut - 1) // 64
    assert text_of(data.train_x.flatten()) == text[: 64 * count]
    assert text_of(data.train_y.flatten()) == text[1 : 64 * count + 1]
    asked = data.test_y[data.test_y != CONTEXT]
    assert text_of(asked) == text[cut:][: len(asked)]
    assert len(text) - cut - len(asked) < 32
    assert data.train_x.dtype == torch.float32
    assert str(tmp_path) in data.source
    assert torch.equal(load("shakespeare", tmp_path / name).train_x, data.train_x)  # the file by itself


def test_the_alphabet_is_65_characters_in_order() -> None:
    assert len(set(ALPHABET)) == len(ALPHABET) == 65
    assert "".join(sorted(ALPHABET)) == ALPHABET


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "input.txt is empty"),
        (b" \n \n", "input.txt is empty"),
        (PLAY.encode() * 40 + b"\xff\xfe", "invalid UTF-8 .byte 3[0-9]+: 0xff"),
        ((PLAY * 40 + "€").encode(), "input.txt, character 3280: character outside the alphabet .'€'"),
        (b"too short", "a text of 8 tokens: expected at least 65"),
    ],
)
def test_damaged_plays_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load("shakespeare", in_folder(tmp_path, {"input.txt": content}))


def test_strange_characters_are_left_out_and_counted(tmp_path: Path) -> None:
    clean = load("shakespeare", in_folder(tmp_path / "a", {"input.txt": (PLAY * 40).encode()}))
    marred = load("shakespeare", in_folder(tmp_path / "b", {"input.txt": ("\t€" + PLAY * 40).encode()}), "skip")
    assert marred.skipped == {"character outside the alphabet": 2}
    assert torch.equal(marred.train_x, clean.train_x)


@pytest.mark.parametrize("task", ["shakespeare", "wikitext2", "polarity"])
def test_a_folder_without_the_files_is_refused(tmp_path: Path, task: str) -> None:
    with pytest.raises(UserError, match=r"holds no .*--data"):
        load(task, tmp_path)
    with pytest.raises(UserError, match=r"no folder or archive .*--data"):
        load(task, tmp_path / "nowhere")


@pytest.mark.parametrize("form", ["folder", "zip", "folder with zip"])
def test_wikitext_reads_the_official_layout(tmp_path: Path, form: str) -> None:
    files = {f"wikitext-2/wiki.{part}.tokens": wikitext(n) for part, n in (("train", 6), ("valid", 2), ("test", 3))}
    archive = tmp_path / "wikitext-2-v1.zip"
    place = in_folder(tmp_path / "set", files) if form == "folder" else in_zip(archive, files)
    data = load("wikitext2", tmp_path if form == "folder with zip" else place)
    assert data.source.endswith("trained on the training part")
    words = words_of(wikitext(6), "", Skipped())
    known = vocabulary_of(words)
    assert words[:6] == ["<eos>", "=", "Robert", "<unk>", "=", "<eos>"]
    assert data.train_x.flatten()[:6].tolist() == [known.get(word, 0) for word in words[:6]]
    asked = data.test_y[data.test_y != CONTEXT]
    expected = [known.get(word, 0) for word in words_of(wikitext(3), "", Skipped())]
    assert asked.tolist() == expected[: len(asked)]
    assert len(expected) - len(asked) < 32


def test_without_a_training_part_the_validation_part_trains_and_is_named(tmp_path: Path) -> None:
    files = {"wikitext2_valid.txt": wikitext(6), "wikitext2_test.txt": wikitext(3)}
    data = load("wikitext2", in_folder(tmp_path, files))
    assert data.source.endswith("trained on the validation part")
    assert len(data.train_x) == (6 * len(words_of(wikitext(1), "", Skipped())) - 1) // 64


def test_a_vocabulary_by_hand() -> None:
    known = vocabulary_of(["b", "b", "b", "a", "a", "a", "a", "<unk>", "<unk>", "<unk>", "c", "c", "d", "d", "d"])
    assert known == {"<unk>": 0, "a": 1, "b": 2, "d": 3}  # c occurs twice


def test_damaged_lines_of_tokens(tmp_path: Path) -> None:
    broken = wikitext(6).replace(b"English film", b"\xe9nglish film", 1)
    files = {"wiki.train.tokens": broken, "wiki.test.tokens": wikitext(3)}
    with pytest.raises(UserError, match=r"train\.tokens, line 4: invalid UTF-8 .byte 20: 0xe9"):
        load("wikitext2", in_folder(tmp_path, files))
    assert load("wikitext2", tmp_path, "skip").skipped == {"invalid UTF-8": 1}
    with pytest.raises(UserError, match=r"test\.tokens is empty"):
        load("wikitext2", in_folder(tmp_path / "b", {"wiki.train.tokens": wikitext(6), "wiki.test.tokens": b"\n"}))
    with pytest.raises(UserError, match=r"holds no wiki\.test\.tokens"):
        load("wikitext2", in_folder(tmp_path / "c", {"wiki.train.tokens": wikitext(6)}))


@pytest.mark.parametrize("form", ["folder", "zip", "official archive"])
def test_polarity_reads_the_official_layout(tmp_path: Path, form: str) -> None:
    files = {f"rt-polaritydata/{name}": content for name, content in polarity_files().items()}
    place = {
        "folder": lambda: in_folder(tmp_path / "set", files),
        "zip": lambda: in_zip(tmp_path / "some.zip", files),
        "official archive": lambda: in_tar(tmp_path / "rt-polaritydata.tar.gz", files).parent,
    }[form]()
    data = load("polarity", place)
    folds = {kind: [fold_of(" ".join(s.split())) for s in sentences(kind, 60)] for kind in ("neg", "pos")}
    assert data.train_y.tolist() == [k for k, kind in enumerate(folds) for fold in folds[kind] if fold]
    assert data.test_y.tolist() == [k for k, kind in enumerate(folds) for fold in folds[kind] if not fold]
    assert data.train_x.shape[1:] == (2, 128)
    assert data.skipped == {}


def test_latin_1_and_utf_8_are_told_apart(tmp_path: Path) -> None:
    line = "un film d'été \x85 très léger ."
    found = []
    for k, coding in enumerate(("latin-1", "utf-8")):
        pos = ("\n".join([*sentences("pos", 60), line]) + "\n").encode(coding)
        found.append(load("polarity", in_folder(tmp_path / str(k), polarity_files(pos=pos))))
    for a, b in zip(found[0].train_x, found[1].train_x):
        assert torch.equal(a, b)
    assert len(found[0].train_y) + len(found[0].test_y) == 121


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "empty line"),
        (b" \t ", "empty line"),
        (b"a \x00 film", "control character"),
        (sentences("pos", 1)[0].encode(), "duplicate id"),
    ],
)
def test_damaged_sentences(tmp_path: Path, line: bytes, reason: str) -> None:
    clean = polarity_files()
    files = clean | {"rt-polarity.pos": clean["rt-polarity.pos"] + line + b"\n"}
    place = in_folder(tmp_path, files)
    with pytest.raises(UserError, match=f"rt-polarity.pos, line 61: {reason}"):
        load("polarity", place)
    data = load("polarity", place, "skip")
    assert data.skipped == {reason: 1}
    assert len(data.train_y) + len(data.test_y) == 120


def test_a_class_that_is_missing_or_empty_is_refused(tmp_path: Path) -> None:
    both = polarity_files()
    with pytest.raises(UserError, match=r"holds no rt-polarity\.pos"):
        load("polarity", in_folder(tmp_path / "a", {"rt-polarity.neg": both["rt-polarity.neg"]}))
    with pytest.raises(UserError, match=r"rt-polarity\.neg is empty"):
        load("polarity", in_folder(tmp_path / "b", both | {"rt-polarity.neg": b""}))
    with pytest.raises(UserError, match=r"no sentence can be used .skipped: control character 1"):
        load("polarity", in_folder(tmp_path / "c", both | {"rt-polarity.neg": b"\x00 \x01\n"}), "skip")


def test_training_and_test_sentences_are_disjoint(tmp_path: Path) -> None:
    data = load("polarity", in_folder(tmp_path, polarity_files()))
    train, test = ({tuple(x[0].tolist()) for x in part} for part in (data.train_x, data.test_x))
    assert test
    assert not train & test
