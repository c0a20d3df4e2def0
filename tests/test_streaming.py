"""Streaming: the same numbers as in memory, resumable, in flat memory."""

from __future__ import annotations

import pytest
import torch

from interp.errors import InputError
from interp.hooks.activations import capture
from interp.hooks.reduction import Reduced, reduce_stream, update
from interp.hooks.streaming import capture_to_disk, open_stored
from interp.models import build, wrap

CONFIG = dict(
    architecture="native", d_model=12, d_head=4, n_heads=3, n_layers=2, n_ctx=8, d_mlp=16, d_vocab=11, d_vocab_out=11
)


@pytest.fixture(scope="module")
def model():
    return wrap(build(CONFIG, seed=0))


def data(n=50, seed=0):
    rng = torch.Generator().manual_seed(seed)
    tokens = torch.randint(11, (n, 6), generator=rng)
    mask = torch.ones(n, 6, dtype=torch.bool)
    mask[::3, 4:] = False
    return tokens, mask


def batches(tokens, mask, size):
    return [(tokens[i : i + size], mask[i : i + size]) for i in range(0, len(tokens), size)]


@pytest.mark.parametrize("site", ["resid_post", "z", "mlp_post"])
@pytest.mark.parametrize("size", [1, 7, 50])
def test_reductions_equal_those_in_memory(model, site, size):
    tokens, mask = data()
    found = reduce_stream(
        model, batches(tokens, mask, size), site, ("mean", "variance", "covariance", "max", "histogram", "top_k"),
        edges=(-0.1, 0.0, 0.1), k=3,
    )[site]  # fmt: skip
    x = capture(model, tokens, site, mask=mask)[site][:, mask].double()  # layer sample feature
    assert found.n == mask.sum()
    torch.testing.assert_close(found.mean, x.mean(1))
    torch.testing.assert_close(found.variance, x.var(1, correction=0), rtol=1e-9, atol=1e-15)
    centred = (x - x.mean(1, keepdim=True)).movedim(1, -2)
    torch.testing.assert_close(found.covariance, centred.mT @ centred / x.shape[1], rtol=1e-9, atol=1e-15)
    torch.testing.assert_close(found.max, x.amax(1))
    assert (found.histogram.sum(-1) == found.n).all()
    torch.testing.assert_close(found.histogram[..., 0], (x <= -0.1).sum(1))
    torch.testing.assert_close(found.top_k, x.topk(3, dim=1).values.movedim(1, -1))
    values = capture(model, tokens, site, mask=mask)[site].double()
    prompt, pos = found.top_k_examples[0, ..., 0, :].flatten(0, -2)[0]
    torch.testing.assert_close(values[0, prompt, pos].flatten()[0], found.top_k[0, ..., 0].flatten()[0])


def test_variance_is_stable_far_from_zero():

    rng = torch.Generator().manual_seed(1)
    state, x = Reduced(asked=frozenset({"variance"})), torch.randn(1, 1000, 4, generator=rng, dtype=torch.float64) + 1e8
    for part in x.split(10, dim=1):
        update(state, part, torch.zeros(part.shape[1], 2, dtype=torch.long))
    torch.testing.assert_close(state.variance, x.var(1, correction=0), rtol=1e-6, atol=0)


def test_disk_gives_back_what_was_captured_by_slice(model, tmp_path):
    tokens, mask = data()
    stored = capture_to_disk(
        model, batches(tokens, mask, 9), tmp_path, ("z", "resid_pre"), dtype="float32", shard_prompts=16
    )
    kept = capture(model, tokens, ("z", "resid_pre"), mask=mask)
    assert stored.complete
    assert stored.n_prompts == 50
    assert len(stored.shards) == 4
    for site in ("z", "resid_pre"):
        torch.testing.assert_close(stored.read(site), kept[site])
        torch.testing.assert_close(stored.read(site, prompts=slice(10, 35), layers=1), kept[site][1:, 10:35])
    with pytest.raises(InputError, match="did you mean 'resid_pre'"):
        stored.read("resid_pr")
    with pytest.raises(InputError, match="layer 7 is not stored"):
        stored.read("z", layers=7)


def test_an_interrupted_capture_goes_on_and_gives_the_same_files(model, tmp_path):
    tokens, mask = data()

    def broken():
        yield from batches(tokens[:30], mask[:30], 10)
        raise KeyboardInterrupt

    options = dict(sites="resid_post", dtype="float16", shard_prompts=8)
    with pytest.raises(KeyboardInterrupt):
        capture_to_disk(model, broken(), tmp_path / "a", **options)
    partial = open_stored(tmp_path / "a")
    assert not partial.complete
    assert 0 < partial.n_prompts < 50
    capture_to_disk(model, batches(tokens, mask, 10), tmp_path / "a", **options)
    capture_to_disk(model, batches(tokens, mask, 25), tmp_path / "b", **options)
    names = sorted(path.name for path in (tmp_path / "b").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "a").iterdir())
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)


def test_other_weights_requests_or_data_are_refused(model, tmp_path):
    tokens, mask = data()
    capture_to_disk(model, batches(tokens, mask, 10), tmp_path, "z", shard_prompts=8)
    with pytest.raises(InputError, match="layers differ"):
        capture_to_disk(model, batches(tokens, mask, 10), tmp_path, "z", layers=0, shard_prompts=8)
    with pytest.raises(InputError, match="weights differ"):
        capture_to_disk(wrap(build(CONFIG, seed=1)), batches(tokens, mask, 10), tmp_path, "z", shard_prompts=8)
    with pytest.raises(InputError, match="other data"):
        capture_to_disk(model, batches(*data(seed=3), 10), tmp_path, "z", shard_prompts=8)


def test_unknown_reductions_and_sites_name_the_nearest(model):
    with pytest.raises(InputError, match="did you mean 'variance'"):
        reduce_stream(model, [], reductions=("varianc",))
    with pytest.raises(InputError, match="edges"):
        reduce_stream(model, [], reductions=("histogram",))
    with pytest.raises(InputError, match="pairs of positions"):
        reduce_stream(model, [], "pattern")


@pytest.mark.parametrize("edges", [[], [0.0, 0.0], [1.0, -1.0], [0.0, float("nan")], [0.0, float("inf")]])
def test_edges_that_are_none_are_refused(model, edges):
    with pytest.raises(InputError, match="edges"):
        reduce_stream(model, [data()], reductions=("histogram",), edges=edges)


def test_a_histogram_counts_every_feature_on_its_own():
    x = torch.randn(2, 40, 3, 4, dtype=torch.float64)
    edges = [-1.0, 0.25, 0.5]
    state = Reduced(asked=frozenset(["histogram"]))
    for part in x.split(17, dim=1):
        update(state, part, torch.zeros(part.shape[1], 2), edges=edges)
    for feature in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(4)).tolist():
        layer, head, d = feature
        values = x[layer, :, head, d].tolist()
        expected = [sum(sum(edge < value for edge in edges) == b for value in values) for b in range(4)]
        assert state.histogram[layer, head, d].tolist() == expected
