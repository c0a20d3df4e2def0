"""The command line: fast help, exit code 2 with one line for wrong input."""

import json
import subprocess
import sys

import pytest

from interp.cli.parser import main

HELP = """
import contextlib, sys, interp.cli.parser
with contextlib.suppress(SystemExit):
    interp.cli.parser.main(["--help"])
print([name for name in ("torch", "transformer_lens", "pandas") if name in sys.modules])
"""


def test_help_imports_neither_torch_nor_transformer_lens():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True)
    assert "run" in done.stdout
    assert done.stdout.strip().endswith("[]"), done.stderr


def test_right_of_the_store_imports_no_torch():
    code = "import sys, interp.table, interp.jumps, interp.leads, interp.report; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rum"], ["'rum'", "did you mean 'run'"]),
        (["run"], ["experiment"]),
        (["run", "nowhere.yaml"], ["nowhere.yaml"]),
        (["status", "nowhere"], ["nowhere"]),
        (["jumps", "nowhere.csv"], ["nowhere.csv"]),
        (["leads", "nowhere.csv"], ["nowhere.csv"]),
        (["list", "checkpoints", "no_such_family"], ["no_such_family"]),
        (["circuit", "no_such:family@step1", "modular_addition"], ["no_such"]),
        (["run", "x.yaml", "--shard", "3/2"], ["x.yaml"]),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1
    for word in words:
        assert word in error


def test_a_forecast_is_a_page_of_text_or_json(capsys, tmp_path):
    rows = ["run,step,task,measure,value,kind,budget"]
    rows += [f"r{k},{2**i},t,accuracy,{float(i > 4 + k)},behaviour,1024" for k in range(3) for i in range(9)]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    command = ["leads", str(tmp_path / "t.csv"), "--forecast", "r1"]
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert {"{", "["}.isdisjoint(shown)
    for key in ("run", "status", "now", "budget", "p_next", "reason"):
        assert f"\n{key}: " in f"\n{shown}"
    assert found["reason"] in shown


@pytest.mark.parametrize("what", ["tasks", "measures", "methods", "families"])
def test_list_names_what_there_is(what, capsys):
    assert main(["list", what]) == 0
    assert len(capsys.readouterr().out.split()) > 3


@pytest.fixture(scope="module")
def built_folder(tmp_path_factory):
    """The folder of one checkpoint: a model built to shift its input by two places."""
    from interp.testbed import planted, write_family

    run = planted("shift", [1, 10], 10, seed=2)
    return write_family(run, tmp_path_factory.mktemp("store")) / "step10", run.built.edges


TASK = "interp.testbed.family:program_task:program=shift"


def test_verify_says_how_far_a_precision_is_off(built_folder, capsys):
    folder, _ = built_folder
    assert main(["verify", str(folder), "--device", "cpu", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == dict.fromkeys(("forward", "capture", "pattern", "patch"), 0) | {
        "agrees": True
    }
    code = main(["verify", str(folder), "--dtype", "bfloat16", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["forward"] > 0
    assert code == (0 if found["agrees"] else 1)
    assert main(["verify", str(folder), "--dtype", "int4"]) == 2
    assert "'int4'" in capsys.readouterr().err


def test_circuit_of_a_model_in_a_folder(built_folder, capsys, tmp_path):
    folder, edges = built_folder
    command = ["circuit", str(folder), TASK, "--n-prompts", "24", "--out", str(tmp_path / "circuit.json")]
    assert main(command) == 0
    shown = capsys.readouterr().out
    for words in ("eap-ig on 24 prompts", "reach 80 % faithfulness", "noise floor", *edges):
        assert words in shown
    assert main([*command, "--json", "--method", "acdc", "--metric", "log_prob", "--seed", "3"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["method"], found["metric"], found["seed"]) == ("acdc", "log_prob", 3)
    assert found["held_out_faithfulness"] == pytest.approx(1, abs=0.05)
    assert found["noise_floor"]["jaccard"] > 0.8
    assert json.loads((tmp_path / "circuit.json").read_text()) == found["circuit"]
    assert {edge for edge, _, inside in found["circuit"]["edges"] if inside} == edges


@pytest.mark.parametrize("method", ["patching", "attribution", "atp-star", "random"])
def test_circuit_by_other_methods(built_folder, method, capsys):
    assert main(["circuit", str(built_folder[0]), TASK, "--n-prompts", "8", "--method", method, "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["nodes"]) >= {"embed", "L0H0", "L0.mlp"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"--method": "eap-igg"}, ["'eap-igg'", "did you mean 'eap_ig'"]),
        ({"--metric": "logitdiff"}, ["'logitdiff'", "did you mean 'logit_diff'"]),
        ({"--n-prompts": "0"}, ["--n-prompts is 0", "at least one"]),
        ({"task": "modular_adition"}, ["did you mean 'modular_addition'"]),
        ({"task": "copying:lenth=3"}, ["'lenth'", "did you mean 'length'"]),
        ({"task": "copying:length=3,vocab_size"}, ["vocab_size", "key=value"]),
        ({"task": "interp.testbed.family:program_tusk"}, ["did you mean 'program_task'"]),
        ({"task": "ioi"}, []),
        ({"model": "nowhere"}, ["nowhere"]),
    ],
)
def test_circuit_with_wrong_input(built_folder, change, words, capsys):
    options = {"--method": "eap", "--metric": "logit_diff", "--n-prompts": "8"}
    options |= {name: value for name, value in change.items() if name in options}
    model, task = change.get("model", str(built_folder[0])), change.get("task", TASK)
    assert main(["circuit", model, task, *(part for option in options.items() for part in option)]) == 2
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1
    for word in words:
        assert word in error


def test_the_shell_completes_what_can_be_typed(capsys, tmp_path):
    """The script, sourced by bash as it is, asked as bash asks it."""
    assert main(["completion", "bash"]) == 0
    made = capsys.readouterr().out
    (tmp_path / "completion").write_text(made)
    (tmp_path / "a_file.yaml").touch()
    asked = {"pr": "prevalence", "leads --direction u": "up", "circuit m --me": "--method --metric", "list mea": "measures",
             "circuit m --method eap-": "eap-ig eap-ig-activations", "init ind": "induction", "run a_f": "a_file.yaml"}  # fmt: skip
    ask = 'COMP_WORDS=(interp $1); COMP_CWORD=$((${#COMP_WORDS[@]}-1)); _interp; echo "${COMPREPLY[*]}"'
    for typed, offered in asked.items():
        code = f"source completion; set -- '{typed}'; {ask}"
        done = subprocess.run(["bash", "-c", code], cwd=tmp_path, capture_output=True, text=True)
        assert done.stdout.strip() == offered, (typed, done.stderr)
    assert main(["completion", "zsh"]) == 0
    assert capsys.readouterr().out == "autoload -U +X bashcompinit && bashcompinit\n" + made


def test_status_says_where_checkpoints_are_missing(capsys, tmp_path):
    from interp.table import store

    units = [f"fam:{size}/base/seed{k}@step{s}" for size in ("d8", "d16") for k in range(2) for s in (0, 10)]
    store.write_plan(tmp_path, [(unit, [unit]) for unit in units])
    row = {"run": "r", "step": 0, "task": "t", "measure": "m", "value": 1.0}
    for unit in units[:5]:
        store.append(tmp_path, [{**row, "key": unit}])
    store.write_failures(tmp_path, units[6], [{"unit": units[6], "task": "t", "measure": "m", "error": "why"}])
    assert main(["status", str(tmp_path)]) == 1
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["fam:d8/base", "2", "4", "4", "0", "0"] in lines
    assert ["fam:d16/base", "2", "4", "1", "3", "1"] in lines


def test_a_wing_is_reached_as_it_is_written():
    code = "import interp, sys; assert 'interp.leads' not in sys.modules; interp.leads.forecast is interp.forecast or sys.exit(1); "
    code += "\ntry: interp.leeds\nexcept AttributeError as error: print(error)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "no attribute 'leeds'" in done.stdout, done.stderr
