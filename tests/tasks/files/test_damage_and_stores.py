"""Damage is refused by name or counted by reason; folders and archives read alike; what was decoded is kept."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from archives import in_folder, in_tar, in_zip
from hypothesis import given
from hypothesis import strategies as st

from equilog.names import UserError
from equilog.tasks.damage import DamagedError, Skipped
from equilog.tasks.files.cache import cached
from equilog.tasks.files.store import open_store

FILES = {"a/one.bin": b"1" * 500, "a/b/two.bin": b"2" * 500, "three.bin": b"3" * 500}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def test_damage_is_refused_with_file_reason_and_remedy() -> None:
    with pytest.raises(UserError, match=r"here\.png: empty box \(0×3\); mend .* on_damage: skip"):
        Skipped().found("here.png", DamagedError("empty box", "0×3"))


def test_damage_is_counted_by_reason_whatever_its_detail() -> None:
    skipped = Skipped("skip")
    for detail in ("one", "two"):
        skipped.found("x", DamagedError("empty box", detail))
    skipped.found("y", DamagedError("missing mask"))
    assert skipped.counts == {"empty box": 2, "missing mask": 1}
    assert str(skipped) == "skipped: empty box 2, missing mask 1"


def test_another_word_is_refused() -> None:
    with pytest.raises(UserError, match="did you mean 'skip'"):
        Skipped("skp")  # type: ignore[arg-type]


@pytest.mark.parametrize(("make", "name"), [(in_folder, "set"), (in_zip, "set.zip"), (in_tar, "set.tar.gz")])
def test_folder_zip_and_tar_read_alike(tmp_path: Path, make: object, name: str) -> None:
    store = open_store(make(tmp_path / name, FILES))
    assert store.names == sorted(store.in_order()) == sorted(FILES)
    assert {file: store.read(file) for file in store.names} == FILES
    assert store.ending("two.bin") == "a/b/two.bin"
    assert store.ending("o.bin") is None
    assert store.where("three.bin") == f"{tmp_path / name}/three.bin"
    with pytest.raises(DamagedError, match="missing file"):
        store.read("../three.bin")


def test_a_tar_is_read_as_it_lies(tmp_path: Path) -> None:
    backwards = dict(sorted(FILES.items(), reverse=True))
    assert open_store(in_tar(tmp_path / "set.tar.gz", backwards)).in_order() == list(backwards)


def test_an_official_archive_in_a_folder_stands_for_it(tmp_path: Path) -> None:
    in_tar(tmp_path / "official.tar.gz", FILES)
    assert open_store(tmp_path, ("official.tar.gz",)).names == sorted(FILES)
    assert open_store(tmp_path).names == ["official.tar.gz"]


def test_a_link_in_an_archive_leads_nowhere(tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(tmp_path / "evil.tar", "w") as made:
        link = tarfile.TarInfo("train/a.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        made.addfile(link)
    assert open_store(tmp_path / "evil.tar").names == []


@pytest.mark.parametrize(("make", "name"), [(in_zip, "set.zip"), (in_tar, "set.tar"), (in_tar, "set.tar.gz")])
@given(data=st.data())
def test_an_archive_cut_anywhere_gives_whole_files_or_says_so(
    tmp_path_factory: pytest.TempPathFactory, make: object, name: str, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    content = make(folder / name, FILES).read_bytes()
    (folder / name).write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    try:
        store = open_store(folder / name)
        found = {file: store.read(file) for file in store.names}
    except (UserError, DamagedError):
        return
    assert all(FILES[file] == content for file, content in found.items())


def test_a_missing_place_is_named_with_the_hint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no folder or archive .*none; get it there"):
        open_store(tmp_path / "none", hint="get it there")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(UserError, match="neither a folder nor a zip or tar"):
        open_store(tmp_path / "text")


def test_what_was_decoded_is_kept_with_its_counts() -> None:
    calls = []

    def make(skipped: Skipped) -> dict[str, np.ndarray]:
        calls.append(1)
        skipped.found("x", DamagedError("missing mask"))
        return {"images": np.arange(6, dtype=np.uint8).reshape(2, 3)}

    for _ in range(2):
        skipped = Skipped("skip")
        found = cached("files", "what", skipped, make)
        np.testing.assert_array_equal(found["images"], [[0, 1, 2], [3, 4, 5]])
        assert skipped.counts == {"missing mask": 1}
    assert len(calls) == 1
    cached("other files", "what", Skipped("skip"), make)
    cached("files", "what else", Skipped("skip"), make)
    assert len(calls) == 3
    with pytest.raises(UserError):  # what was skipped once is still refused
        cached("files", "what", Skipped("refuse"), make)


def test_a_damaged_cache_is_made_again() -> None:
    import pooch

    def make(skipped: Skipped) -> dict[str, np.ndarray]:
        return {"images": np.ones(400, np.uint8)}

    cached("files", "what", Skipped(), make)
    (held,) = (Path(pooch.os_cache("equilog")) / "decoded").glob("*/images.npy")
    held.write_bytes(held.read_bytes()[:-7])
    assert cached("files", "what", Skipped(), make)["images"].sum() == 400
    assert len(np.load(held)) == 400


def test_a_file_that_changed_has_another_identity(tmp_path: Path) -> None:
    place = in_folder(tmp_path / "set", FILES)
    before = open_store(place).identity()
    assert open_store(place).identity() == before
    os.utime(place / "three.bin", ns=(1, 1))
    assert open_store(place).identity() != before
