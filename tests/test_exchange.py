"""Tables from and to other people's tools: what was logged comes back, what is damaged is refused in one line."""

from __future__ import annotations

import json
import math
import struct
import warnings

import numpy as np
import pandas as pd
import pytest

import interp
from interp.cli.parser import main
from interp.exchange import is_log, read_logs, write_dataset, write_logs
from interp.exchange.records import masked_crc, read_records

# What TensorBoard 2.21's own EventFileWriter wrote: its version, and one event (wall time 1000, step 7) of the tag "accuracy"
# (simple_value 0.25), a float32 tensor "tf2" of 3.5 with the metadata of the plugin "scalars", a float64 tensor "d" of 1/3 and
# a histogram (plugin "histograms", 2 × 2 zeros).
THEIRS = bytes.fromhex(
    "4800000000000000fe92489d091f2fcbf777c3da411a0d627261696e2e4576656e743a32522e0a2c74656e736f72626f6172642e73756d6d"
    "6172792e7772697465722e6576656e745f66696c655f777269746572fc3b7c529c00000000000000cba95dfa090000000000408f4010072a"
    "8e010a0f0a086163637572616379150000803e0a1e0a03746632420a080112002a04000060404a0b0a090a077363616c6172730a130a0164"
    "420e080212003208555555555555d53f0a460a0468697374422e080212081202080212020802222000000000000000000000000000000000"
    "000000000000000000000000000000004a0e0a0c0a0a686973746f6772616d733bad5034"
)


def table(**columns):
    rows = pd.DataFrame(
        {"run": ["a"] * 3, "step": [0, 10, 20], "task": "t", "measure": "m", "value": [0.5, 1.0, np.nan]}
    )
    return rows.assign(**columns)


def curves(found):
    return {(r.run, r.measure, r.step): r.value for r in found.itertuples()}


def test_the_checksum_is_the_published_one():
    """RFC 3720, B.4: 32 bytes of zeros, of ones, and upwards."""
    mask = lambda crc: ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF  # noqa: E731
    known = {b"\0" * 32: 0x8A9136AA, b"\xff" * 32: 0x62A8AB43, bytes(range(32)): 0x46DD794E, b"123456789": 0xE3069283}
    assert masked_crc(list(known)).tolist() == [mask(crc) for crc in known.values()]


def test_events_that_tensorboard_wrote(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "events.out.tfevents.1.host.0").write_bytes(THEIRS)
    found = curves(read_logs(tmp_path))
    assert found == {("run", "accuracy", 7): 0.25, ("run", "tf2", 7): 3.5, ("run", "d", 7): 1 / 3}


def test_a_damaged_event_file_is_refused_and_one_in_progress_is_read(tmp_path, capsys):
    path = tmp_path / "events.out.tfevents.1"
    whole = list(read_records(_file(path, THEIRS)))
    for cut in range(0, len(THEIRS), 29):
        assert len(list(read_records(_file(path, THEIRS[:cut])))) <= len(whole)
    rng = np.random.default_rng(0)
    for at in rng.choice(len(THEIRS), 16, replace=False):
        broken = bytearray(THEIRS)
        broken[at] ^= 1 << int(rng.integers(8))
        with pytest.raises(interp.InputError, match="checksum"):
            list(read_records(_file(path, bytes(broken))))
    assert main(["jumps", str(path)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def _file(path, content):
    path.write_bytes(content)
    return path


def test_hostile_records_with_right_checksums_are_refused(tmp_path):
    from interp.exchange.records import framed

    path = tmp_path / "events.out.tfevents.1"
    for hostile in (
        b"\x2a\xff\xff\xff\xff\x0f",
        b"\x2b",
        b"\x09\0",
        b"\xff" * 12,
        b"\x2a\x04\x0a\x02\x0a\x09",
        b"\x80",
    ):
        with pytest.raises(interp.InputError, match="no event"):
            read_logs(_file(path, framed([hostile])))
    endless = struct.pack("<Q", 1 << 62)
    path.write_bytes(endless + struct.pack("<I", int(masked_crc([endless])[0])) + b"x" * 9)
    with pytest.raises(interp.InputError, match="holds no scalar"):
        read_logs(path)


def test_what_is_written_for_tensorboard_is_read_again(tmp_path):
    given = pd.concat([table(), table(run="b/2", value=[1.0, 2.0, 3.0])])
    assert write_logs(given, f"tensorboard:{tmp_path}") == 5
    assert curves(read_logs(tmp_path)) == {
        ("a", "t/m", 0): 0.5, ("a", "t/m", 10): 1.0,
        ("b/2", "t/m", 0): 1.0, ("b/2", "t/m", 10): 2.0, ("b/2", "t/m", 20): 3.0,
    }  # fmt: skip
    write_logs(table(run="../../out"), f"tensorboard:{tmp_path / 'inside'}")
    assert not (tmp_path.parent / "out").exists()


def test_a_run_that_was_begun_again_counts_as_it_was_logged_last(tmp_path):
    from interp.exchange.events import Scalar, write_events

    write_events(tmp_path / "events.out.tfevents.1", [Scalar("m", s, 0.0, 1.0) for s in (0, 10, 20)])
    write_events(tmp_path / "events.out.tfevents.2", [Scalar("m", s, 1.0, 2.0) for s in (20, 30)])
    assert read_logs(tmp_path)["value"].tolist() == [0, 0, 1, 1]


class Open:
    """What W&B's, trackio's and TensorBoard's open runs have in common with these."""

    def __init__(self):
        self.said = []

    def log(self, values, step=None):
        self.said.append((step, values))


class Writer:
    def __init__(self):
        self.said = []

    def add_scalar(self, tag, scalar_value, global_step=None, walltime=None, new_style=False):
        self.said.append((tag, scalar_value, global_step))


def test_values_go_to_an_open_run_step_by_step():
    run, writer = Open(), Writer()
    given = pd.concat([table(), table(measure="k", component="L0H1", position=3)])
    assert write_logs(given, run) == 4 == write_logs(given, writer)
    assert run.said == [(0, {"t/m": 0.5, "t/k/L0H1/token 3": 0.5}), (10, {"t/m": 1.0, "t/k/L0H1/token 3": 1.0})]
    assert sorted(writer.said) == sorted(
        (name, value, step) for step, values in run.said for name, value in values.items()
    )
    with pytest.raises(interp.InputError, match="say which with run="):
        write_logs(pd.concat([table(), table(run="b")]), run)
    with pytest.raises(interp.InputError, match="no run 'aa'"):
        write_logs(table(), run, run="aa")
    with pytest.raises(interp.InputError, match=r"\.log"):
        write_logs(table(), object())
    with pytest.raises(interp.InputError, match="wandb:PROJECT"):
        write_logs(table(), "wanbd:p")


def test_a_chart_s_export_has_a_column_a_run(tmp_path):
    text = '"Step","big - lr 1 - acc","big - lr 1 - acc__MIN","big - lr 1 - acc__MAX","b - acc","b - acc__MIN","b - acc__MAX"\n'
    text += '"0","0.1","0.1","0.1","","",""\n"5","NaN","NaN","NaN","0.2","0.2","0.2"\n"9","Infinity","","","0.3","0.3","0.3"\n'
    path = tmp_path / "wandb_export.csv"
    path.write_text(text)
    found = read_logs(path)
    said = curves(found)
    assert {key: value for key, value in said.items() if value == value} == {
        ("big - lr 1", "acc", 0): 0.1, ("b", "acc", 5): 0.2, ("b", "acc", 9): 0.3,
    }  # fmt: skip
    assert {key[2] for key, value in said.items() if value != value} == {5, 9}
    assert "kind" not in found
    assert is_log(path)


def test_a_history_counts_the_optimiser_s_steps(tmp_path):
    rows = [
        {"_step": 0, "_runtime": 1.0, "_timestamp": 2.0, "train/global_step": 50, "train/loss": 3.0},
        {"_step": 1, "_runtime": 2.0, "_timestamp": 3.0, "train/global_step": 100, "train/loss": None, "eval/acc": 0.5},
        {"_step": 2, "_runtime": 2.0, "_timestamp": 3.0, "train/global_step": 100, "train/loss": 2.0, "note": "x"},
        {"_step": 3, "_runtime": 2.0, "_timestamp": 3.0, "gradients": {"_type": "histogram"}, "eval/acc": 0.7},
    ]
    want = {("history", "train/loss", 50): 3.0, ("history", "eval/acc", 100): 0.5, ("history", "train/loss", 100): 2.0}
    (tmp_path / "history.json").write_text(json.dumps(rows))
    assert curves(read_logs(tmp_path / "history.json")) == want
    (tmp_path / "history.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert curves(read_logs(tmp_path / "history.jsonl")) == want
    pd.DataFrame(rows).to_csv(tmp_path / "history.csv")
    assert curves(read_logs(tmp_path / "history.csv")) == want
    pd.DataFrame(rows).drop(columns="gradients").to_parquet(tmp_path / "history.parquet")
    assert curves(read_logs(tmp_path / "history.parquet")) == want
    by_call = read_logs(tmp_path / "history.json", step="_step")
    assert by_call["step"].tolist() == [0, 2, 1, 3]
    with pytest.raises(interp.InputError, match="did you mean '_step'"):
        read_logs(tmp_path / "history.json", step="_steps")


def test_trackio_gives_a_metric_a_file(tmp_path):
    for run in ("a", "b"):
        for metric in ("loss", "acc"):
            values = [{"timestamp": "2026-01-01", "step": s, "value": s / 10} for s in (0, 1)]
            said = {"project": "p", "run": run, "metric": metric, "values": values}
            (tmp_path / f"{run}_{metric}.json").write_text(json.dumps(said))
    found = read_logs(tmp_path, behaviour=["acc"])
    assert len(found) == 8
    assert set(found["run"]) == {"a", "b"}
    assert dict(zip(found["measure"], found["kind"], strict=True)) == {"acc": "behaviour", "loss": "indicator"}
    with pytest.raises(interp.InputError, match="did you mean 'acc'"):
        read_logs(tmp_path, behaviour=["accu"])


def test_a_trainer_s_folder_knows_its_budget(tmp_path):
    for step in (500, 1000, 90):
        folder = tmp_path / "out" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        history = [{"loss": 1 / s, "epoch": 0.1, "step": s} for s in range(1, step, 100)]
        history.append(
            {"eval_loss": 0.5, "eval_runtime": 2.0, "eval_steps_per_second": 9.0, "epoch": 1.0, "step": step}
        )
        (folder / "trainer_state.json").write_text(
            json.dumps({"log_history": history, "max_steps": 2000, "global_step": step})
        )
    found = read_logs(tmp_path / "out")
    assert found["step"].max() == 1000
    assert (set(found["run"]), set(found["budget"])) == ({"out"}, {2000})
    assert set(found["measure"]) == {"loss", "eval_loss"}
    assert is_log(tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("runs.csv", "Name,State,loss\na,finished,1\n", "a row a run"),
        ("times.csv", "Wall Time,loss\n1,2\n", "no column of steps"),
        ("text.csv", "step,note\n1,hello\n", "no number"),
        ("broken.json", '[{"step": 1, ', "cannot be read as json"),
        ("deep.json", "[" * 100_000, "cannot be read as json"),
        ("plain.json", "3", "cannot be read as json"),
        ("empty.jsonl", "", "no column of steps"),
        ("x.wandb", "", "no tracker's log"),
    ],
)
def test_what_is_no_log_is_refused_in_one_line(name, text, says, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(interp.InputError, match=says) as caught:
        read_logs(tmp_path / name)
    assert "\n" not in str(caught.value) or "broken" in name


def test_tables_and_evaluation_logs_are_no_tracker_s(tmp_path):
    table(kind="behaviour").to_csv(tmp_path / "t.csv", index=False)
    table().drop(columns="task").to_csv(tmp_path / "u.csv", index=False)  # a table that lacks something says so itself
    assert not any(map(is_log, (tmp_path / "t.csv", tmp_path / "u.csv", tmp_path)))


def test_the_command_line_takes_a_log_where_it_takes_a_table(tmp_path, capsys):
    rows = [{"step": s, "acc": float(s > 90), "norm": 1 + s / 1000} for s in (1, 10, 100)]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, rows)))
    log = str(tmp_path / "log.jsonl")
    assert main(["export", log, "--behaviour", "acc", "--csv", str(tmp_path / "t.csv")]) == 0
    assert set(interp.read_table(tmp_path / "t.csv")["kind"]) == {"behaviour", "indicator"}
    assert main(["export", log, "--to", f"tensorboard:{tmp_path / 'tb'}"]) == 0
    assert len(read_logs(tmp_path / "tb")) == 6
    assert main(["prevalence", log, "--measure", "accu"]) == 2
    assert "did you mean 'acc'" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "t.csv"), "--behaviour", "acc"]) == 2
    assert "none's log" in capsys.readouterr().err


def test_a_data_set_s_card_says_what_is_there(tmp_path, capsys):
    yaml = pytest.importorskip("yaml")
    table(unit="share", kind="behaviour").to_csv(tmp_path / "t.csv", index=False)
    assert main(["export", str(tmp_path / "t.csv"), "--card", str(tmp_path / "set"), "--licence", "mit"]) == 0
    text = (tmp_path / "set" / "README.md").read_text()
    head = yaml.safe_load(text.split("---\n")[1])
    path = tmp_path / "set" / head["configs"][0]["data_files"][0]["path"]
    pd.testing.assert_frame_equal(interp.read_table(path), interp.read_table(tmp_path / "t.csv"), check_dtype=False)
    assert head["license"] == "mit"
    assert "| m | behaviour | share | yes | 3 | 66.7% |" in text
    assert "1 values are not defined" in text
    assert main(["export", str(tmp_path / "t.csv"), "--card", str(tmp_path / "set")]) == 2
    assert "not empty" in capsys.readouterr().err
    write_dataset(table(), tmp_path / "other")


def test_reading_needs_no_tracker_installed():
    import subprocess
    import sys

    code = "import sys, interp; interp.read_logs, interp.write_logs; "
    code += "print([n for n in ('wandb', 'trackio', 'tensorboard', 'lightning', 'torch') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_nothing_undefined_becomes_a_number(tmp_path):
    given = table(value=[math.nan, 1.0, 2.0])
    run = Open()
    write_logs(given, run)
    assert [step for step, _ in run.said] == [10, 20]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pd.DataFrame({"step": [0, 1], "m": ["", "-inf"]}).to_csv(tmp_path / "m.csv", index=False)
        assert read_logs(tmp_path / "m.csv")["value"].isna().tolist() == [True]
