"""Checkpoints in the order of their steps: what `verify` makes of walks and lines with files behind the wrong names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from interp.cli import main
from interp.families.trajectory import disorder, sketch, unseen

N = 12


def _walk(kind: str, seed: int) -> tuple[list[int], torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    moves = torch.randn(N, 400, generator=rng)
    if kind == "line":
        moves = moves[:1] + 0.1 * moves
    if kind == "log":
        moves *= 2.0 ** (torch.arange(N)[:, None] / 2)
    return [2**i for i in range(N)] if kind == "log" else list(range(0, 10 * N, 10)), moves.cumsum(0)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["walk", "line", "log"])
def test_exchanged_neighbours_are_named(kind, seed):
    steps, walk = _walk(kind, seed)
    assert disorder(steps, walk) == []
    for i in range(1, N - 2):
        found = walk.clone()
        found[[i, i + 1]] = walk[[i + 1, i]]
        assert [named for named, _ in disorder(steps, found)] == [[steps[i], steps[i + 1]]]


@pytest.mark.parametrize("end", [0, N - 1])
@pytest.mark.parametrize("kind", ["walk", "line"])
def test_a_wrong_end_is_named(kind, end):
    steps, walk = _walk(kind, 0)
    for source in (4, 7):
        found = walk.clone()
        found[end] = walk[source] + 1e-3
        assert [named for named, _ in disorder(steps, found)] == [[steps[end]]]
    found = walk.clone()
    found[end] += 40 * torch.randn(400, generator=torch.Generator().manual_seed(9))
    assert [named for named, _ in disorder(steps, found)] == [[steps[end]]]


def test_checkpoints_of_a_stationary_run_raise_no_alarm_and_are_said_to_hide_their_order():
    """Far apart on the way of a run that only wanders about, all are equally far from each other."""
    still = torch.randn(N, 4000, generator=torch.Generator().manual_seed(0))
    assert disorder(list(range(N)), still) == []
    said = unseen(list(range(N)), still)
    assert said is not None
    assert said.startswith(f"{N - 1} of {N - 1} pairs")
    assert unseen(*_walk("line", 0)) is None
    assert "too few" in (unseen([0, 1], still[:2]) or "")


def test_a_sketch_is_an_even_sample_in_the_order_of_names():
    weights = {"b": torch.arange(100_000.0), "a": torch.full((3, 4), -1.0)}
    found = sketch(weights)
    assert 2**14 < len(found) < 2**17
    assert found[0] == -1
    assert bool((found[found >= 0].diff() > 0).all())


def test_verify_names_the_pair_and_what_it_cannot_see(tmp_path: Path, capsys):
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "native"}))
    steps, walk = _walk("walk", 1)
    for step, weights in zip(steps, walk, strict=True):
        save_file({"w": weights}, tmp_path / f"step{step}.safetensors")
    assert main(["verify", str(tmp_path)]) == 0
    first, second = (tmp_path / f"step{step}.safetensors" for step in (50, 60))
    contents = first.read_bytes(), second.read_bytes()
    second.write_bytes(contents[0])
    first.write_bytes(contents[1])
    assert main(["verify", str(tmp_path)]) == 1
    assert "steps 50 and 60 exchanged?" in capsys.readouterr().out
    for step in steps[3:]:
        (tmp_path / f"step{step}.safetensors").unlink()
    assert main(["verify", str(tmp_path)]) == 0
    assert "not seen: " in capsys.readouterr().out
