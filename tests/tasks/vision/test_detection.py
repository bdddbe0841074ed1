"""Every object has a location, overlaps are those by hand, right answers score 1, in COCO's evaluation too."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from archives import in_folder, in_zip
from builders import generator
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from vision_files import coco, encoded, pixels, voc_xml

from equilog.hardware import Chip, load_spec
from equilog.names import UserError
from equilog.tasks import get_task
from equilog.tasks.task import ModelConfig
from equilog.tasks.vision import detector
from equilog.tasks.vision.detection import Detection, mean_average_precision, padded
from equilog.tasks.vision.detector import Found, assigned, boxes_of, found, generalised_iou, iou, matches
from equilog.training import TrainConfig, fit
from equilog.training.curriculum import ideal

STRIDE, SHAPE, CLASSES = 8.0, (12, 16), ("a", "b", "c")


def objects(*rows: tuple[float, ...]) -> Tensor:
    """Rows of left, top, width, height, class, crowd; filled up to eight."""
    y = torch.zeros(1, 8, 6)
    y[..., 4] = -1
    for k, row in enumerate(rows):
        y[0, k] = torch.tensor(row)
    return y


def scattered(seed: int, count: int) -> Tensor:
    """Objects in different places, two locations apart or more."""
    rng = generator(seed)
    places = torch.randperm(6 * 8, generator=rng)[:count]
    rows = []
    for place in places.tolist():
        size = torch.rand(2, generator=rng) * 20 + 4
        centre = torch.tensor([16 * (place % 8) + 8.0, 16 * (place // 8) + 8.0]) + 2 * torch.rand(2, generator=rng)
        label = float(torch.randint(3, (1,), generator=rng))
        rows.append((*(centre - size / 2).tolist(), *size.tolist(), label, 0.0))
    return objects(*rows)


def right_answer(y: Tensor) -> Tensor:
    """The output that says exactly what there is."""
    output = torch.full((len(y), 7, *SHAPE), -9.0)
    which, _ = assigned(output, y, STRIDE)
    for b, i, j in (which >= 0).nonzero().tolist():
        x, t, w, h, label, _ = y[b, which[b, i, j]].tolist()
        output[b, int(label), i, j] = 9.0
        centre = torch.tensor([x + w / 2, t + h / 2])
        output[b, 3:5, i, j] = centre / STRIDE - torch.tensor([j + 0.5, i + 0.5])
        output[b, 5:, i, j] = (torch.tensor([w, h]) / STRIDE).log()
    return output


def corners(y: Tensor) -> Tensor:
    there = y[y[..., 4] >= 0]
    return torch.cat([there[:, :2], there[:, :2] + there[:, 2:4]], dim=1)


@given(seed=st.integers(0, 300), count=st.integers(0, 8))
def test_right_answers_have_no_loss_and_full_score(seed: int, count: int) -> None:
    y = scattered(seed, count)
    output = right_answer(y)
    assert float(Detection(STRIDE).loss(output, y)) < 1e-3
    assert float(Detection(STRIDE).score(output, y)) == 1
    (answer,) = found(output, STRIDE)
    assert len(answer.boxes) == count
    if count:
        overlaps = iou(answer.boxes, corners(y))
        assert overlaps.amax(1).min() > 0.999


@given(seed=st.integers(0, 300), count=st.integers(1, 8))
def test_every_object_that_stands_alone_has_a_location(seed: int, count: int) -> None:
    y = scattered(seed, count)
    which, ignored = assigned(torch.zeros(1, 7, *SHAPE), y, STRIDE)
    assert set(which.unique().tolist()) == {-1, *range(count)}
    assert not ignored.any()


def test_the_smaller_of_two_takes_a_location_and_crowds_take_none() -> None:
    y = objects((20, 20, 40, 40, 0, 0), (38, 38, 4, 4, 1, 0), (80, 8, 32, 32, 2, 1))
    output = torch.zeros(1, 7, *SHAPE, requires_grad=True)
    which, ignored = assigned(output, y, STRIDE)
    assert set(which.unique().tolist()) == {-1, 1}  # both have the same centre
    assert int(ignored.sum()) == 16
    Detection(STRIDE).loss(output, y).backward()
    assert output.grad is not None
    assert output.grad[0, :, 1:5, 10:14].abs().max() == 0
    assert output.grad[0, :3, 8:, :8].abs().min() > 0


def test_the_loss_is_finite_without_objects_and_for_wild_sizes() -> None:
    output = torch.full((2, 7, *SHAPE), 60.0, requires_grad=True)
    loss = Detection(STRIDE).loss(output, torch.cat([objects(), scattered(0, 3)]))
    loss.backward()
    assert loss.isfinite()
    assert output.grad is not None
    assert output.grad.isfinite().all()


boxes = st.lists(st.floats(0, 50), min_size=4, max_size=4).map(
    lambda n: torch.tensor([[n[0], n[1], n[0] + n[2] + 1, n[1] + n[3] + 1]], dtype=torch.float64)
)


@given(a=boxes, b=boxes)
def test_overlaps_have_the_properties_they_are_named_for(a: Tensor, b: Tensor) -> None:
    plain, general = float(iou(a, b)[0, 0]), float(generalised_iou(a, b)[0])
    assert general == pytest.approx(float(generalised_iou(b, a)[0]))
    assert -1 < general <= plain + 1e-12
    assert 0 <= plain <= 1
    assert float(generalised_iou(a, a)[0]) == pytest.approx(1)
    grid = torch.cartesian_prod(torch.arange(0, 102, 0.5), torch.arange(0, 102, 0.5)) + 0.25
    inside = [((grid > box[0, :2]) & (grid < box[0, 2:])).all(1) for box in (a, b)]
    brute = float((inside[0] & inside[1]).sum() / (inside[0] | inside[1]).sum().clamp(min=1))
    assert plain == pytest.approx(brute, abs=0.3 if min(map(int, map(torch.sum, inside))) < 40 else 0.12)


def test_overlaps_by_hand() -> None:
    a, b = torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[1.0, 1, 3, 3]])
    assert float(iou(a, b)) == pytest.approx(1 / 7)
    assert float(generalised_iou(a, b)) == pytest.approx(1 / 7 - 2 / 9)
    assert float(generalised_iou(a, torch.tensor([[3.0, 0, 4, 2]]))) == pytest.approx(-2 / 8)


@given(seed=st.integers(0, 100))
def test_no_two_answers_of_a_class_are_the_same_and_none_is_lost(seed: int) -> None:
    output = torch.randn(1, 7, 5, 6, generator=generator(seed))
    (answer,) = found(output, STRIDE, least=0.3, overlap=0.4)
    assert answer.scores.tolist() == sorted(answer.scores.tolist(), reverse=True)
    for a, b in itertools.combinations(range(len(answer.boxes)), 2):
        if answer.labels[a] == answer.labels[b]:
            assert float(iou(answer.boxes[a : a + 1], answer.boxes[b : b + 1])) <= 0.4
    everything, scores = boxes_of(output, STRIDE)[0].flatten(0, 1), output[0, :3].sigmoid().flatten(1)
    for label, place in (scores >= 0.3).nonzero().tolist():
        over = iou(everything[place : place + 1], answer.boxes)[0] * (answer.labels == label)
        surer = answer.scores >= scores[label, place] - 1e-6
        assert bool(((over > 0.4) & surer).any())  # itself, or what it is the same as


def test_matches_by_hand() -> None:
    y = objects((0, 0, 10, 10, 0, 0), (50, 50, 10, 10, 1, 0), (80, 0, 30, 30, 2, 1))[0]
    answer = Found(
        torch.tensor([[0.0, 0, 10, 9], [0, 0, 10, 10], [50, 50, 60, 60], [85, 5, 95, 15], [0, 0, 10, 10]]),
        torch.tensor([0.9, 0.8, 0.7, 0.6, 0.1]),
        torch.tensor([0, 0, 2, 2, 1]),
    )
    # The first is found; the second is a double; the third has the wrong class; the fourth lies in a crowd.
    assert matches(answer, y, sure=0.3) == (1, 2, 1)


def test_coco_agrees_on_right_answers_and_on_half_of_them() -> None:
    pytest.importorskip("pycocotools")
    y = torch.cat([scattered(k, 6) for k in range(10)])
    answers = found(right_answer(y), STRIDE)
    assert mean_average_precision(answers, y, CLASSES) == pytest.approx((1, 1), abs=1e-3)
    half = [answers[k] if k % 2 else Found(*(part[:0] for part in vars(answers[k]).values())) for k in range(10)]
    both = mean_average_precision(half, y, CLASSES)
    assert both is not None
    assert 0.35 < both[0] < 0.65
    moved = [Found(a.boxes + torch.tensor([0.0, 0.0, 4.0, 4.0]), a.scores, a.labels) for a in answers]
    loose = mean_average_precision(moved, y, CLASSES)
    assert loose is not None
    assert loose[0] < 0.7 * loose[1]
    assert mean_average_precision([], y[:0], CLASSES) == (0, 0)


VOC_ROOT = "BCCD_Dataset/BCCD"
SPLITS = {"train": (1, 2), "val": (4,), "test": (3,)}
MORE = (4, 4)
"""picture and category of an object more than in the others"""


def voc_files() -> dict[str, bytes]:
    files = {}
    for split, ids in SPLITS.items():
        files[f"{VOC_ROOT}/ImageSets/Main/{split}.txt"] = "\n".join(f"b{k}" for k in ids).encode()
        for k in ids:
            files[f"{VOC_ROOT}/JPEGImages/b{k}.jpg"] = encoded(pixels(k, 48, 64), "JPEG")
            boxes = [("RBC", (1, 1, 10, 20), 0), ("Platelets", (31, 21, 40, 30), 0)]
            more = [("WBC", (3, 3, 11, 11), 0)] if k == MORE[0] else []
            files[f"{VOC_ROOT}/Annotations/b{k}.xml"] = voc_xml(64, 48, boxes + more)
    return files


def coco_files() -> dict[str, bytes]:
    files, names = {}, {4: "WBC", 2: "RBC", 9: "Platelets"}
    for split, ids in SPLITS.items():
        images = [{"id": k, "file_name": f"b{k}.jpg", "width": 64, "height": 48} for k in ids]
        rows = [(k, box, c) for k in ids for box, c in (([0, 0, 10, 20], 2), ([30, 20, 10, 10], 9), ([2, 2, 9, 9], 4))]
        rows = [row for row in rows if row[2] != MORE[1] or row[0] == MORE[0]]
        given = [{"id": n, "image_id": k, "category_id": c, "bbox": box} for n, (k, box, c) in enumerate(rows)]
        files[f"bccd/annotations/instances_{split}.json"] = coco(images, given, names)
        files |= {f"bccd/images/b{k}.jpg": encoded(pixels(k, 48, 64), "JPEG") for k in ids}
    return files


def test_both_forms_of_the_set_give_the_same(tmp_path: Path) -> None:
    task = get_task("bccd")
    a = task.load(in_folder(tmp_path / "voc", voc_files()))
    b = task.load(in_zip(tmp_path / "coco.zip", coco_files()))
    assert a.train_x.shape == (3, 3, 96, 128)
    assert a.test_x.shape == (1, 3, 96, 128)
    for name in ("train_x", "train_y", "test_x", "test_y"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    two = [[0, 0, 20, 40, 1, 0], [60, 40, 20, 20, 0, 0]]  # twice as large as in the file
    assert a.train_y[0].tolist() == [*two, [0, 0, 0, 0, -1, 0]]
    assert a.train_y[2].tolist() == [*two, [4, 4, 18, 18, 2, 0]]  # of val


def test_a_set_without_val_trains_on_train_alone(tmp_path: Path) -> None:
    files = {name: content for name, content in voc_files().items() if not name.endswith("val.txt")}
    assert len(get_task("bccd").load(in_folder(tmp_path / "voc", files)).train_x) == 2


def test_skipped_boxes_are_counted_and_other_sets_refused(tmp_path: Path) -> None:
    task, files = get_task("bccd"), voc_files()
    files[f"{VOC_ROOT}/Annotations/b2.xml"] = voc_xml(64, 48, [("RBC", (5, 5, 4, 9), 0), ("WBC", (5, 5, 9, 9), 0)])
    place = in_folder(tmp_path / "voc", files)
    with pytest.raises(UserError, match=r"b2\.xml, object 0: empty box"):
        task.load(place)
    task.on_damage = "skip"
    data = task.load(place)
    assert data.skipped == {"empty box": 1}
    assert (data.train_y[1, :, 4] >= 0).sum() == 1
    with pytest.raises(UserError, match="git clone"):
        task.load(None)
    with pytest.raises(UserError, match="holds no list or annotations of split 'train'"):
        task.load(in_folder(tmp_path / "other", {"a.txt": b""}))
    cells = {"annotations/instances_train.json": coco([{"id": 1, "file_name": "x", "width": 9, "height": 9}], [])}
    with pytest.raises(UserError, match="category 'cell', expected Platelets, RBC, WBC"):
        task.load(in_folder(tmp_path / "cells", cells))


def test_the_model_runs_ideal_and_on_a_chip_and_measures() -> None:
    task = get_task("bccd")
    model = task.build(ModelConfig(states=192, drives=192))
    x = torch.rand(2, 3, 96, 128)
    assert model(x).shape == (2, 7, 12, 16)
    assert model(x, Chip(load_spec("rram"), 0)).isfinite().all()
    with pytest.raises(UserError, match="the same multiple of 192"):
        task.build(ModelConfig(states=192, drives=64))


def test_it_learns_to_find_squares() -> None:
    rng = generator(3)
    x, rows = 0.1 * torch.rand(48, 3, 96, 128, generator=rng) + 0.6, []
    for k in range(48):
        i, j = int(torch.randint(0, 64, (1,), generator=rng)), int(torch.randint(0, 96, (1,), generator=rng))
        x[k, k % 2, i : i + 28, j : j + 28] += 0.3  # red or green
        rows.append(objects((j, i, 28, 28, k % 2, 0)))
    y, goal = torch.cat(rows), Detection(STRIDE)
    torch.manual_seed(0)
    model = get_task("bccd").build(ModelConfig(states=384, drives=384))
    before = float(goal.loss(model(x), y).detach())
    config = TrainConfig(stages=ideal(5), batch_size=8, learning_rate=0.006)
    fit(model, x, y, load_spec("ideal"), config, objective=goal, progress=False)
    with torch.no_grad():
        output = model(x)
    assert float(goal.loss(output, y)) < 0.5 * before
    assert float(goal.score(output, y)) / 48 > 0.5


def test_padding_scales_to_the_resized_picture() -> None:
    from equilog.tasks.vision.boxes import annotated

    items = [annotated("a", 10, 20, [((1.0, 2.0, 3.0, 4.0), 2, True)]), annotated("b", 5, 5, [])]
    found_y = padded(items, (40, 40))
    assert found_y[0, 0].tolist() == [4, 4, 12, 8, 2, 1]
    assert found_y[1, 0, 4] == -1
    assert padded(items[1:], (4, 4)).shape == (1, 1, 6)


SHARED = Path("/work/shared/data/vision/bccd_coco.zip")


@pytest.mark.skipif(not SHARED.is_file(), reason=f"needs {SHARED}, real data")
def test_the_real_set_is_whole() -> None:
    data = get_task("bccd").load(SHARED)
    assert (len(data.train_x), len(data.test_x)) == (292, 72)
    labels = data.train_y[..., 4]
    assert torch.bincount(labels[labels >= 0].long()).tolist() == [292, 3348, 301]
    which, _ = assigned(torch.zeros(292, 7, *SHAPE), data.train_y, STRIDE)
    placed = sum(len(rows.unique()) - 1 for rows in which)
    assert placed > 0.99 * int((labels >= 0).sum())  # the others share their centre with a smaller one
    assert detector.RADIUS < 1
