"""Attention progress reads on over answers of several tokens."""

import pytest
import torch
from observed import look, native

import interp
from interp import plugins
from interp.measure.observe import measure


@pytest.mark.parametrize("attends", ["window", "first"])
def test_a_head_that_reads_the_windows_has_all_of_its_attention_there(attends, monkeypatch):
    """Planted patterns: uniform over each output's window, or always on the first token (which one output needs)."""
    length, window = 5, 2
    task = interp.task("window_sum", p=5, length=length, window=window)
    obs = look(native(task, n_heads=1), task, ["attention_progress"], n=4)

    def planted(model, tokens, site, **_):
        n = tokens.shape[1]
        assert n == 2 * length
        pattern = torch.zeros(1, len(tokens), 1, n, n)
        if attends == "first":
            pattern[..., 0] = 1
            return {"pattern": pattern}
        for output in range(length):
            keys = [key for key in range(output - window + 1, output + 1) if key >= 0]
            pattern[..., length + output, keys] = 1 / len(keys)
        return {"pattern": pattern}

    monkeypatch.setattr(plugins.module("indicators", "attention_progress"), "capture", planted)
    rows, failures = measure(obs, ["attention_progress"])
    assert failures == []
    expected = 1.0 if attends == "window" else 2 / length  # outputs 0 and 1 need the first token
    assert rows[0]["value"] == pytest.approx(expected)


def test_it_is_the_share_of_the_models_own_attention():
    task = interp.task("window_sum", p=5, length=4)
    model = native(task, n_heads=2)
    obs = look(model, task, ["attention_progress"], n=6)
    tokens = torch.cat([obs.prompts.clean, obs.prompts.answer[:, :-1]], dim=1)
    pattern = interp.capture(model, tokens, "pattern")["pattern"][0].double()
    rows, _ = measure(obs, ["attention_progress"])
    for row in rows:
        head = pattern[:, int(row["component"][-1])]
        shares = [head[:, 4 + i, max(i - 1, 0) : i + 1].sum(-1) for i in range(4)]
        assert row["value"] == pytest.approx(float(torch.stack(shares).mean()), abs=1e-5)
