"""Next tokens: the objective by hand, nothing looks ahead, perplexities of known predictors, the model's parts."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from archives import in_folder
from builders import spec_with
from tasks.sequence.text_files import PLAY, polarity_files
from torch import Tensor, nn

from equilog.baselines.language import CausalTransformer
from equilog.baselines.matching import matched, parameter_count
from equilog.cells import CircuitCell
from equilog.cost import module_work
from equilog.hardware import Chip
from equilog.model import HybridDEQ
from equilog.names import UserError
from equilog.pipeline.measured import predictor
from equilog.tasks import Data, get_task
from equilog.tasks.sequence.bag import features_of, inverse_frequencies, packed, tf_idf, weighed_apart, without_some
from equilog.tasks.sequence.causal import CausalAttention, causal_front, language_model
from equilog.tasks.sequence.language import unigram_bits
from equilog.tasks.sequence.next_token import CONTEXT, NextToken, perplexity, token_bits
from equilog.tasks.task import ModelConfig

VOCABULARY, POSITIONS = 5, 6


def small_model(seed: int = 0) -> HybridDEQ:
    torch.manual_seed(seed)
    front = causal_front(VOCABULARY, POSITIONS, 3, width=8, heads=2, reach=3)
    return language_model(front, CircuitCell(4, 3), VOCABULARY, POSITIONS)


def ids(seed: int, batch: int = 3) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(VOCABULARY, (batch, POSITIONS), generator=draw).float()


def test_loss_and_score_by_hand() -> None:
    # Probabilities 1/2, 1/4, 1/8 of the right tokens; the fourth is only read.
    p = torch.tensor([[[0.5, 0.5], [0.75, 0.25], [0.125, 0.875], [0.9, 0.1]]], dtype=torch.float64)
    y = torch.tensor([[1, 1, 0, CONTEXT]])
    goal = NextToken()
    assert token_bits(p.log(), y).tolist() == [pytest.approx([1.0, 2.0, 3.0, 0.0])]
    assert float(goal.score(p.log(), y)) == pytest.approx(2.0)
    assert float(goal.loss(p.log(), y)) == pytest.approx(2.0 * math.log(2))
    two = torch.cat([p, p]).log(), torch.cat([y, torch.tensor([[1, CONTEXT, CONTEXT, CONTEXT]])])
    assert float(goal.score(*two)) == pytest.approx(2.0 + 1.0)  # a mean a window, then their sum
    assert float(goal.loss(*two)) == pytest.approx((6.0 + 1.0) / 4 * math.log(2))  # over all positions asked for
    assert perplexity(3.0) == 8.0
    assert goal.same_answer(p, p) is None


def test_smoothing_is_in_the_loss_alone() -> None:
    logits, y = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([[0, 1, 2], [3, 0, 1]])
    assert float(NextToken(0.1).loss(logits, y)) != pytest.approx(float(NextToken().loss(logits, y)))
    assert float(NextToken(0.1).score(logits, y)) == float(NextToken().score(logits, y))


def test_nothing_but_context_has_no_loss() -> None:
    logits, y = torch.randn(1, 2, 3), torch.full((1, 2), CONTEXT)
    assert float(NextToken().loss(logits, y)) == 0.0
    assert float(NextToken().score(logits, y)) == 0.0


@pytest.mark.parametrize("shapes", [((2, 3), (2, 3)), ((2, 3, 4), (2, 4)), ((6, 4), (6,))])
def test_shapes_that_do_not_fit_are_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    for ask in (NextToken().loss, NextToken().score):
        with pytest.raises(ValueError, match="expected logits"):
            ask(torch.zeros(shapes[0]), torch.zeros(shapes[1], dtype=torch.int64))


@pytest.mark.parametrize("where", ["ideal", "chip"])
def test_a_later_token_changes_no_earlier_output(where: str) -> None:
    model, x = small_model().double(), ids(1)
    chip = Chip(spec_with("rram"), 3) if where == "chip" else None
    for at in range(1, POSITIONS):
        other = x.clone()
        other[:, at] = (other[:, at] + 1) % VOCABULARY
        with torch.no_grad():
            a, b = model(x, chip), model(other, chip)
        assert a.shape == (3, POSITIONS, VOCABULARY)
        torch.testing.assert_close(a[:, :at], b[:, :at], rtol=0, atol=1e-12)
        assert not torch.allclose(a[:, at], b[:, at], rtol=0, atol=1e-6)


def test_the_baseline_looks_ahead_no_more_and_matches_in_parameters() -> None:
    wanted = parameter_count(small_model()) * 20
    net = matched(lambda width: CausalTransformer(VOCABULARY, POSITIONS, width), wanted).double()
    assert parameter_count(net) == pytest.approx(wanted, rel=0.25)
    x = ids(2)
    other = x.clone()
    other[:, 3] = (other[:, 3] + 1) % VOCABULARY
    a, b = net(x), net(other)
    torch.testing.assert_close(a[:, :3], b[:, :3], rtol=0, atol=1e-12)
    assert not torch.allclose(a[:, 3:], b[:, 3:])


def test_a_shorter_window_gives_what_the_longer_one_begins_with() -> None:
    front, x = small_model().parameterize.double(), ids(3)
    short = front(x[:, :4]).view(3, 4, -1)
    torch.testing.assert_close(short, front(x).view(3, POSITIONS, -1)[:, :4], rtol=0, atol=1e-12)


def test_attention_is_pytorchs_own_and_counted() -> None:
    torch.manual_seed(0)
    attention, x = CausalAttention(4, 2).double(), torch.randn(1, 3, 4, dtype=torch.float64)
    q, k, v = (part.view(1, 3, 2, 2).transpose(1, 2) for part in attention.project(attention.norm(x)).chunk(3, -1))
    seen = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(attention(x), x + attention.out(seen.transpose(1, 2).flatten(2)))
    assert module_work(attention, x).macs == 3 * (4 * 12 + 4 * 4) + 2 * 3 * 3 * 4
    with pytest.raises(ValueError, match="width = 6: expected a multiple of 4"):
        CausalAttention(6, 4)


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Data:
    place = in_folder(tmp_path_factory.mktemp("play"), {"input.txt": (PLAY * 40).encode()})
    return get_task("shakespeare").load(place)


def test_perplexity_of_known_predictors(play: Data) -> None:
    task = get_task("shakespeare")
    right = nn.functional.one_hot(play.test_y.clamp(min=0), 65).double()

    def knows(x: Tensor) -> Tensor:
        first = next(k for k in range(len(play.test_x)) if torch.equal(play.test_x[k], x[0]))
        return 100 * right[first : first + len(x)]

    def uniform(x: Tensor) -> Tensor:
        return torch.zeros(*x.shape, 65, dtype=torch.float64)

    assert task.measures(knows, play, ideal=False)[0].value == pytest.approx(1.0)
    assert task.measures(uniform, play, ideal=False)[0].value == pytest.approx(65.0)
    named = {m.name: m.value for m in task.measures(uniform, play, ideal=True)}
    assert named["perplexity of frequencies alone"] == pytest.approx(2 ** unigram_bits(play, 65))


def test_bits_of_frequencies_by_hand() -> None:
    y = torch.tensor([[0, 0, 1, CONTEXT]])
    data = Data(y.float(), y, y.float(), torch.tensor([[0, 1, CONTEXT, CONTEXT]]), "")
    # Counts with one added: 3, 2, 1 of 6.
    assert unigram_bits(data, 3) == pytest.approx((1 + math.log2(3)) / 2)


@pytest.mark.parametrize("name", ["shakespeare", "wikitext2"])
def test_models_of_the_tasks(name: str, play: Data) -> None:
    task = get_task(name)
    torch.manual_seed(0)
    model = task.build(ModelConfig(states=6, drives=4))
    torch.manual_seed(0)
    again = task.build(ModelConfig(states=6, drives=4))
    x = play.test_x[:2]
    with torch.no_grad():
        out, drive = model(x), model.parameterize(x)
    assert model.rows == 64
    assert drive.shape == (2 * 64, 4)
    assert float(drive.abs().max()) <= 1
    assert out.shape[:2] == (2, 64)
    assert torch.equal(out, again(x))
    torch.testing.assert_close(predictor(model)(x).float(), out, rtol=1e-3, atol=1e-3)
    goal = task.objective(play, task.train_defaults)
    # Untrained, every token is about as likely.
    assert float(goal.score(out, play.test_y[:2])) / 2 == pytest.approx(math.log2(out.shape[2]), rel=0.1)


def test_words_are_dropped_alike_from_a_seed() -> None:
    task, x = get_task("wikitext2"), 1 + ids(4, 200)
    a, b = (task.augment(x, x, torch.Generator().manual_seed(5))[0] for _ in range(2))
    assert torch.equal(a, b)
    assert set((a - x)[a != x].tolist()) <= set((-x).flatten().tolist())
    assert float((a == 0).double().mean()) == pytest.approx(0.15, abs=0.04)


def test_weights_of_a_sentence_by_hand() -> None:
    a, b, c = features_of("good film"), features_of("good good plot"), features_of("dull plot")
    assert len(a) == 3  # two words and a pair
    assert len(b) == 4  # "good" once, "good good", "plot", "good plot"
    inverse = inverse_frequencies([a, b, c])
    assert inverse[a[0]] == pytest.approx(math.log(4 / 3) + 1)
    row = tf_idf([a, b, c], inverse).toarray()[0]
    assert (row**2).sum() == pytest.approx(1.0)
    assert row[a[1]] / row[a[0]] == pytest.approx((math.log(2) + 1) / (math.log(4 / 3) + 1))
    x = packed([a, c], row[[*a, *c]])
    assert x[0, 0, :4].tolist() == [*a, 0]
    assert x[0, 1, :3].tolist() == pytest.approx(row[a].tolist())
    assert x[0, 1, 3:].abs().sum() == 0


def test_a_training_sentence_is_weighed_by_what_has_not_seen_it() -> None:
    """Its own class must not show: turned round, the weights of its own features stay."""
    said = [features_of(f"word{k} thing{k % 3}") for k in range(30)]
    classes = torch.arange(30) % 2
    turned = classes.clone()
    turned[7] = 1 - turned[7]
    plain, other = (weighed_apart(said, y, said[:1])[0] for y in (classes, turned))
    assert torch.equal(plain[7], other[7])
    assert not torch.equal(plain[8], other[8])


def test_polarity_begins_with_the_regression(tmp_path: Path) -> None:
    task = get_task("polarity")
    data = task.load(in_folder(tmp_path, polarity_files()))
    bag = task.build(task.model_defaults).parameterize[0]
    torch.testing.assert_close(bag(data.test_x), data.test_x[:, 1].sum(1, keepdim=True).expand(-1, 8))
    (measure,) = task.measures(lambda x: x, data, ideal=True)
    assert measure.value == pytest.approx(100.0)  # one word tells the class
    assert task.measures(lambda x: x, data, ideal=False) == []
    draw = torch.Generator().manual_seed(0)
    fewer = without_some(data.train_x, 0.5, draw)
    assert torch.equal(fewer[:, 0], data.train_x[:, 0])
    kept = fewer[:, 1] != 0
    torch.testing.assert_close(fewer[:, 1][kept], 2 * data.train_x[:, 1][kept])
    with pytest.raises(UserError, match="too few"):
        task.load(in_folder(tmp_path / "few", polarity_files(1)))
