"""Gradients, Hessians and learning coefficients: against exact ones of tiny models, closed forms and devinterp."""

import math

import pytest
import torch
from observed import adding, look, native, shortened

import interp
from interp.indicators._loss import hessian_product, mean_loss, parameters, random_like, rows
from interp.indicators._sgld import sample_losses
from interp.indicators._weights import head_masks
from interp.indicators.hessian_top_eigenvalue import lanczos
from interp.measure.observe import measure
from interp.seeds import generator


@pytest.fixture(scope="module")
def tiny():
    """A model of 200-odd parameters in float64 on ten examples, with the exact gradient and Hessian of its loss."""
    task = shortened(interp.task("modular_addition", p=5, train_fraction=0.6), 10)
    model = native(task, d_model=4, n_heads=1, d_mlp=6, act_fn="gelu")
    model.module.double()
    obs = look(model, task, ["gradient_norm"])
    names, point = list(parameters(model)), parameters(model)
    shapes = [point[name].shape for name in names]

    def flat_loss(vector):
        parts = vector.split([shape.numel() for shape in shapes])
        return mean_loss(model, task.splits(0)["train"])(
            dict(zip(names, map(torch.reshape, parts, shapes), strict=True))
        )

    start = torch.cat([point[name].flatten() for name in names])
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        hessian = torch.autograd.functional.hessian(flat_loss, start)
        gradient = torch.autograd.functional.jacobian(flat_loss, start)
    return obs, gradient, (hessian + hessian.T) / 2


def one(obs, name, **params):
    rows, failures = measure(obs, [(name, params)])
    assert failures == []
    return rows


def test_gradient_norm_is_that_of_the_gradient(tiny):
    obs, gradient, _ = tiny
    assert one(obs, "gradient_norm")[0]["value"] == pytest.approx(float(gradient.norm()), rel=1e-9)


def test_hessian_products_are_those_of_the_hessian(tiny):
    obs, _, hessian = tiny
    point = parameters(obs.model)
    v = random_like(point, generator(3))
    with hessian_product(mean_loss(obs.model, obs.splits["train"]), point) as product:
        got = product(v)
    flat = torch.cat([v[name].flatten() for name in v])
    assert torch.allclose(torch.cat([got[name].flatten() for name in got]), hessian @ flat, atol=1e-10)


def test_the_trace_is_within_its_error_of_the_exact_one(tiny):
    obs, _, hessian = tiny
    row = one(obs, "hessian_trace", probes=400)[0]
    assert row["n"] == 400
    assert abs(row["value"] - float(hessian.trace())) < 4 * row["stderr"]
    off_diagonal = hessian - torch.diag(hessian.diagonal())
    exact_error = math.sqrt(2 * float(off_diagonal.square().sum()) / 400)
    assert row["stderr"] == pytest.approx(exact_error, rel=0.25)


def test_the_top_eigenvalue_is_the_exact_one(tiny):
    obs, _, hessian = tiny
    exact = float(torch.linalg.eigvalsh(hessian)[-1])
    assert one(obs, "hessian_top_eigenvalue", iterations=60)[0]["value"] == pytest.approx(exact, rel=1e-6)
    assert one(obs, "hessian_top_eigenvalue", iterations=5)[0]["value"] <= exact * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_lanczos_ends_where_the_krylov_space_does(seed):
    """A symmetric map with three different eigenvalues needs three steps."""
    basis = torch.linalg.qr(torch.randn(12, 12, generator=generator(seed), dtype=torch.float64)).Q
    matrix = basis @ torch.diag(torch.tensor([5.0] + [2.0] * 5 + [-1.0] * 6, dtype=torch.float64)) @ basis.T
    start = {"w": torch.randn(12, generator=generator(seed, 1), dtype=torch.float64)}
    diagonal, beside = lanczos(lambda v: {"w": matrix @ v["w"]}, start, iterations=12)
    assert len(diagonal) == 3
    values = torch.linalg.eigvalsh(torch.diag(diagonal) + torch.diag(beside, 1) + torch.diag(beside, -1))
    assert torch.allclose(values, torch.tensor([-1.0, 2.0, 5.0], dtype=torch.float64))


def test_noise_scale_is_that_of_per_sequence_gradients():
    """With batches of one sequence the estimator is exact algebra: tr Σ and |G|² from the sequences' own gradients."""
    model, task = adding()
    task = shortened(task, 16)
    obs, losses = look(model, task, ["gradient_noise_scale"]), []
    for i in range(16):
        loss = mean_loss(model, rows(obs.splits["train"], torch.tensor([i])))
        own = {name: value.requires_grad_() for name, value in parameters(model).items()}
        grads = torch.autograd.grad(loss(own), list(own.values()), allow_unused=True)
        losses.append(torch.cat([g.flatten() for g in grads if g is not None]).double())
    each = torch.stack(losses)
    spread = float(each.var(dim=0).sum())
    signal = float(each.mean(dim=0).square().sum()) - spread / 16
    got = one(obs, "gradient_noise_scale", batch_size=1, batches=16)[0]["value"]
    assert got == pytest.approx(spread / signal, rel=1e-4) if signal > 0 else math.isnan(got)


@pytest.mark.parametrize(("step_size", "localization"), [(1e-3, 1.0), (1e-2, 10.0), (4e-3, 0.0)])
def test_sgld_on_a_quadratic_has_the_closed_form(step_size, localization):
    """L = ½ Σ h w²: each coordinate is an autoregressive process of variance 1/(a(1 − εa/4)) with a = nβ h + γ."""
    h = torch.tensor([0.5, 1.0, 2.0, 4.0], dtype=torch.float64).repeat_interleave(50)
    n_beta = 20.0
    losses = sample_losses(
        lambda: lambda point: 0.5 * (h * point["w"] ** 2).sum(),
        {"w": torch.zeros_like(h)},
        generator(0, "sgld"),
        draws=3000,
        burn_in=1500,
        step_size=step_size,
        n_beta=n_beta,
        localization=localization,
    )
    a = n_beta * h + localization
    exact = float((n_beta * h / 2 / (a * (1 - step_size * a / 4))).sum())
    assert n_beta * float(losses.mean()) == pytest.approx(exact, rel=0.05)


def test_a_regular_model_has_half_its_parameters():
    """Without localization and with small moves, nβ E[L] of a quadratic in d dimensions is d/2."""
    h = torch.logspace(-0.5, 0.5, 40, dtype=torch.float64)
    losses = sample_losses(
        lambda: lambda point: 0.5 * (h * point["w"] ** 2).sum(), {"w": torch.zeros_like(h)}, generator(1), draws=6000,
        burn_in=2000, step_size=1e-2, n_beta=5.0, localization=0.0,
    )  # fmt: skip
    assert 5.0 * float(losses.mean()) == pytest.approx(20, rel=0.06)


def test_a_degenerate_minimum_has_less():
    """L = ½ Σ (u v)²: below the d/2 = 1 of a regular pair, and as integration over the posterior has it."""

    def loss(point):
        return 0.5 * (point["u"] * point["v"]).square().sum()

    start = {name: torch.zeros(60, dtype=torch.float64) for name in "uv"}
    losses = sample_losses(
        lambda: loss, start, generator(2), draws=5000, burn_in=1000, step_size=4e-3, n_beta=20.0, localization=1.0
    )  # fmt: skip
    per_pair = 20.0 * float(losses.mean()) / 60
    grid = torch.linspace(-6, 6, 1201, dtype=torch.float64)
    u, v = torch.meshgrid(grid, grid, indexing="ij")
    weight = torch.exp(-10 * (u * v) ** 2 - (u**2 + v**2) / 2)
    assert per_pair == pytest.approx(float((10 * (u * v) ** 2 * weight).sum() / weight.sum()), rel=0.08)
    assert per_pair < 0.5


def test_a_chain_that_diverges_is_nan():
    losses = sample_losses(
        lambda: lambda point: (point["w"] ** 4).sum(), {"w": torch.ones(3)}, generator(0), draws=50, burn_in=0,
        step_size=10.0, n_beta=100.0, localization=0.0,
    )  # fmt: skip
    assert math.isnan(float(losses.mean()))


def test_head_weights_move_alone_and_cover_all_heads():
    """The masks of all heads together are exactly q, k, v (with biases) and o of every layer, each weight once."""
    model, task = adding()
    obs = look(model, task, ["head_llc"])
    point = parameters(model)
    masks = [head_masks(obs, point, layer, head) for layer in range(model.n_layers) for head in range(model.n_heads)]
    total = {name: sum(mask[name] for mask in masks) for name in point}
    for name, mask in total.items():
        inside = any(part in name for part in ("attn.q", "attn.k", "attn.v", "attn.o.weight"))
        assert torch.equal(mask, torch.ones_like(mask) if inside else torch.zeros_like(mask)), name


def test_llc_agrees_with_devinterp():
    """The same model, data, temperature and localization in devinterp's sampler; both chains have their own noise."""
    datasets = pytest.importorskip("datasets")
    devinterp = pytest.importorskip("devinterp.slt.llc")
    model, task = adding()
    batch = task.splits(0)["train"]
    optimizer = torch.optim.Adam(model.module.parameters(), lr=1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        mean_loss(model, batch)(dict(model.module.named_parameters())).backward()
        optimizer.step()
    obs = look(model, task, ["llc"])
    settings = {"step_size": 1e-3, "n_beta": 30.0, "localization": 50.0, "draws": 1500, "burn_in": 300}
    ours = one(obs, "llc", tokens=batch.tokens.numel(), **settings)[0]["value"]

    wide = torch.cat([batch.tokens, batch.targets[:, -1:]], dim=1)

    def loss_fn(module, ids):
        losses = torch.nn.functional.cross_entropy(module(ids[:, :3])[:, -1], ids[:, 3], reduction="none")
        return losses[:, None].expand(-1, 3)

    data = datasets.Dataset.from_dict({"input_ids": wide.tolist()}).with_format("torch")
    found = devinterp.llc(
        torch.nn.Sequential(model.module), data, {}, lr=1e-3, n_beta=30.0, localization=50.0, loss_fn=loss_fn,
        num_chains=3, num_draws=1800, batch_size=len(wide), num_init_loss_batches=1, device="cpu",
    )  # fmt: skip
    trace = found["loss_trace"].values[:, 300:]
    theirs = 30.0 * float(trace.mean() - found["init_loss"])
    assert ours == pytest.approx(theirs, rel=0.15)
