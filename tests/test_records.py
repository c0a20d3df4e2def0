"""Records that check themselves: a wrong value anywhere is exit 2 and one line that names the key, and nothing is written."""

import copy
import dataclasses
import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import interp
from interp.cli import main
from interp.cli.schema import FILES, _meanings, schema
from interp.documents import named, read_document, shipped
from interp.documents.records import MOST, is_name
from interp.engine.checks import check_device, read_experiment
from interp.engine.config import Experiment, parse_experiment, resolved
from interp.families.card import Card, card_names, read_card
from interp.families.planned import load_recipe
from interp.families.recipe import Recipe
from interp.leads.spec import Spec, read_spec

RECIPE = {
    "name": "tiny",
    "task": {"name": "modular_addition", "params": {"p": 7, "train_fraction": 0.8}},
    "model": {"n_layers": 1, "n_heads": 2, "act_fn": "relu", "normalization_type": None},
    "sizes": {"d8": {"d_model": 8, "d_head": 4, "d_mlp": 32}},
    "settings": {"base": {}, "few": {"task": {"train_fraction": 0.3}}},
    "seeds": [0, 1],
    "runs": [{"settings": ["base"]}, {"settings": ["few"], "seeds": [0]}],
    "optimizer": {"name": "adamw", "lr": 0.002, "betas": [0.9, 0.98], "warmup": 2},
    "steps": 4,
    "checkpoints": {"every": 2},
}
EXPERIMENT = {
    "name": "x",
    "families": [{"recipe": "tiny.yaml", "sizes": ["d8"], "seeds": [0, 1], "steps": {"log": 3}}],
    "tasks": [{"name": "modular_addition", "params": {}, "n_prompts": 4}, "induction"],
    "measures": ["exact_match", {"name": "llc", "draws": 3}],
    "circuits": {"method": "eap-ig", "metric": "logit_diff", "every": 2, "n_prompts": 4},
}
CARD = {
    "name": "own",
    "repo": "lab/model-{size}",
    "revision": "step{step}",
    "steps": [[0, 4, 2], 9],
    "sizes": {"14m": {"n_params": 14}, "31m": {"n_params": 31}},
    "settings": {"base": {}},
    "seeds": [0],
}
NAN, INF = math.nan, math.inf
PATHS = (
    "../x",
    "/tmp/x",
    "a/b",
    "..",
    ".",
    "a\\b",
    "",
    " ",
    "a\nb",
    "a:b",
    "a@b",
    "x" * 101,
    "x.",
    "-x",
    None,
    3,
    True,
)
"""None of them is a name."""

# Where, what stands there instead, and what the line has to say beside the key.
WRONG_EXPERIMENT: list[tuple[str, Any, str]] = [
    *(("name", value, "") for value in PATHS),
    ("nam", "y", "did you mean 'name'"),
    ("families", [], "at least one"),
    ("families", "tiny.yaml", "a list"),
    ("families[0]", 3, "keys and values"),
    ("families[0].recipes", "x", "did you mean 'recipe'"),
    ("families[0].hub", "pythia", "exactly one"),
    ("families[0].recipe", "tinny.yaml", "did you mean 'tiny.yaml'"),
    ("families[0].recipe", ["tiny.yaml"], "text"),
    ("families[0].sizes", "d8", "a list"),
    ("families[0].sizes[0]", "d9", "expected one of d8"),
    ("families[0].settings", ["bas"], "did you mean 'base'"),
    ("families[0].seeds[1]", "a", "whole number"),
    ("families[0].seeds[1]", -1, "whole number"),
    ("families[0].seeds[1]", True, "whole number"),
    ("families[0].seeds[1]", 1.0, "whole number"),
    ("families[0].seeds[1]", 2**53 + 1, "whole number"),
    ("families[0].seeds[1]", 5, "tiny has not"),
    ("families[0].steps", 7, "{log: n}"),
    ("families[0].steps", {"log": 0}, "{log: n}"),
    ("families[0].steps", {"log": True}, "{log: n}"),
    ("families[0].steps", [], "{log: n}"),
    ("families[0].steps", [2**60], "{log: n}"),
    ("families[0].steps", [3], "the nearest is"),
    ("tasks", {}, "a list"),
    ("tasks[0]", 3, "keys and values"),
    ("tasks[0].name", "modular_adition", "did you mean 'modular_addition'"),
    ("tasks[0].name", "os path:join", "module:function"),
    ("tasks[0].name", "os:system", "Python's own"),
    ("measures[0]", "subprocess:run", "Python's own"),
    ("circuits.method", "shutil:rmtree", "Python's own"),
    ("tasks[0].name", "no_such_module_at_all:f", "cannot import"),
    ("tasks[0].params", [1], "keys and values"),
    ("tasks[0].params.train_fractoin", 0.3, "did you mean 'train_fraction'"),
    ("tasks[0].params.p", "five", "whole number"),
    ("tasks[0].params.p", 10**9, "whole number"),
    ("tasks[0].params.train_fraction", NAN, "finite"),
    ("tasks[0].n_prompts", "many", "whole number"),
    ("tasks[0].n_prompts", 0, "at least 1"),
    ("tasks[0].label", 5, "text"),
    ("tasks[0].scan", {"p": []}, "no values"),
    ("tasks[0].scan", {"p": list(range(2, 1100))}, "at most 1000"),
    ("tasks[1]", "modular_addition", "label"),
    ("measures[0]", "exact_mach", "did you mean 'exact_match'"),
    ("measures[0]", {"draws": 3}, "name"),
    ("measures[0]", "llc", "given once"),
    ("measures[1].drws", 3, "did you mean 'draws'"),
    ("measures[1].draws", "many", "whole number"),
    ("measures[1].draws", 0, "at least 1"),
    ("measures[1].step_size", INF, "finite"),
    ("measures[0]", "circuit_transfer", "reference"),
    ("circuits", "patching", "keys and values"),
    ("circuits.evry", 2, "did you mean 'every'"),
    ("circuits.every", 0, "at least 1"),
    ("circuits.method", "eap-gi", "did you mean 'eap_ig'"),
    ("circuits.metric", "logitdiff", "did you mean 'logit_diff'"),
    ("circuits.n_prompts", -4, "at least 1"),
    ("circuits.reference", "a:b:c", "address"),
    ("circuits.reference", "tiny:d8/base/seed7@step2", "seed"),
    ("circuits.reference", "tiny:d8/base/seed0@step3", "nearest"),
    ("device", "gpu", "unknown device"),
    ("device", "cuda:x", "cuda:0"),
    ("device", 0, "text"),
    ("dtype", "float23", "did you mean"),
    ("dtype", None, "float32"),
    ("seed", "zero", "whole number"),
    ("seed", -1, "whole number"),
    ("seed", True, "whole number"),
    ("disk_budget_gb", 0, "above 0"),
    ("disk_budget_gb", NAN, "above 0"),
    ("disk_budget_gb", True, "above 0"),
]
WRONG_RECIPE: list[tuple[str, Any, str]] = [
    *(("name", value, "") for value in PATHS),
    ("stepz", 5, "did you mean 'steps'"),
    ("task", "modular_addition", "keys and values"),
    ("task.nam", "x", "did you mean 'name'"),
    ("task.name", "modular_adition", "did you mean 'modular_addition'"),
    ("task.params", {"p": 1}, "whole number"),
    ("task.params", {"p": NAN}, "finite"),
    ("task.params", [7], "keys and values"),
    ("model", [], "keys and values"),
    ("model.n_layers", "one", "whole number"),
    ("model.n_heads", 0, "at least 1"),
    ("model.act_fn", "rely", "did you mean 'relu'"),
    ("model.normalization_type", "layer", "LN"),
    ("model.attn_only", 1, "true or false"),
    ("sizes", {}, "at least one"),
    ("sizes", {"../d8": {}}, "name"),
    ("sizes", {"seed3": {}}, "name"),
    ("sizes", {3: {}}, "name"),
    ("sizes.d8", 8, "keys and values"),
    ("sizes.d8.d_model", 8.0, "whole number"),
    ("sizes.d8.d_model", -8, "whole number"),
    ("sizes.d8.d_vocab", 3, "vocabulary of 8"),
    ("settings", {"a b": {}}, "name"),
    ("settings.few.optimiser", {}, "did you mean 'optimizer'"),
    ("settings.few.steps", 0, "at least 1"),
    ("settings.few.checkpoints", {"evry": 1}, "did you mean 'every'"),
    ("seeds", [], "at least one"),
    ("seeds", 0, "a list"),
    ("seeds[0]", -1, "whole number"),
    ("seeds[0]", 0.5, "whole number"),
    ("runs[0].size", ["d8"], "did you mean 'sizes'"),
    ("runs[0].sizes", ["d9"], "unknown size"),
    ("optimizer.name", "adam", "adamw"),
    ("optimizer.name", ["adamw"], "unknown optimizer"),
    ("optimizer.weight_dekay", 1, "did you mean 'weight_decay'"),
    ("optimizer.lr", "fast", "above 0"),
    ("optimizer.lr", -0.1, "above 0"),
    ("optimizer.betas", [0.9], "two numbers"),
    ("optimizer.betas", [0.9, 1.5], "two numbers"),
    ("optimizer.warmup", True, "whole number"),
    ("steps", "many", "whole number"),
    ("steps", 0, "at least 1"),
    ("steps", 2**54, "whole number"),
    ("batch", "all", "'full'"),
    ("batch", 0, "'full'"),
    ("checkpoints", {"every": -1}, "whole number"),
    ("checkpoints", {"log": 10**9}, "at most"),
    ("loss_dtype", "float46", "did you mean 'float64'"),
    ("about", 3, "text"),
]
WRONG_CARD: list[tuple[str, Any, str]] = [
    *(("name", value, "") for value in PATHS),
    ("repoo", "x/y", "did you mean 'repo'"),
    ("repo", 3, "text"),
    ("repo", "../../etc", "repo"),
    ("repo", "https://hub/x/y", "owner/name"),
    ("repo", "lab/{siez}", "siez"),
    ("repo", "lab/{size.__class__}", "a field is"),
    ("repo", "lab/{size:>999999999}", "a field is"),
    ("repo", "lab/{size", "filled in"),
    ("revision", 7, "text"),
    ("revision", "main", "several steps"),
    ("subfolder", "../../{step}", "way out"),
    ("subfolder", "/etc/{step}", "way out"),
    ("file", "..\\x{step}", "way out"),
    ("steps", "hubb", "'hub'"),
    ("steps", [], "'hub'"),
    ("steps", [[0, 4]], "'hub'"),
    ("steps", [[0, 10**12, 1]], "'hub'"),
    ("steps", [[4, 0, 1]], "'hub'"),
    ("steps", [-1], "'hub'"),
    ("steps", [2**54], "'hub'"),
    ("steps", [True], "'hub'"),
    ("sizes", {}, "at least one"),
    ("sizes", ["14m"], "keys and values"),
    ("sizes", {"a/b": {}}, "name"),
    ("sizes.14m.n_params", "many", "whole number"),
    ("sizes.14m.step", 3, "meaning of its own"),
    ("settings", {"..": {}}, "name"),
    ("seeds[0]", -3, "whole number"),
    ("seeds", ["a"], "whole number"),
    ("runs", [], "at least one"),
    ("runs", [{"size": "15m"}], "unknown size"),
    ("runs", [{"size": ["14m"]}], "unknown size"),
    ("runs", [{"size": "14m", "seed": "a"}], "whole number"),
    ("runs", [{"size": "14m", "setting": "../x"}], "name"),
    ("layout", "tranformers", "did you mean 'transformers'"),
    ("tokens_per_step", 0, "at least 1"),
    ("tokenizer", 3, "text"),
    ("about", "text", "keys and values"),
]
WRONG_SPEC: list[tuple[str, Any, str]] = [
    ("targt", "a", "did you mean 'target'"),
    ("target", 3, "text"),
    ("event", "mid", "event of a spec"),
    ("event", 1, "event"),
    ("min_magnitude", 0, "above 0"),
    ("min_magnitude", NAN, "above 0"),
    ("half_decade", 1, "above 1"),
    ("half_decade", INF, "above 1"),
    ("delta", 2, "between 0 and 1"),
    ("delta", True, "between 0 and 1"),
    ("delta", "0.1", "between 0 and 1"),
    ("rates", [], "a list"),
    ("rates", 0.05, "a list"),
    ("rates", [5.0], "between 0 and 1"),
    ("rates", [NAN], "between 0 and 1"),
    ("horizon", 0.5, "above 1"),
    ("landmarks", 0, "at least 1"),
    ("landmarks", 10**9, "at most"),
    ("budget_shares", ["a"], "between 0 and 1"),
    ("level", 1, "between 0 and 1"),
    ("forecast_level", None, "between 0 and 1"),
    ("folds", 1, "at least 2"),
    ("folds", 2.5, "whole number"),
    ("permutations", 10, "19"),
    ("permutations", -1, "19"),
    ("shifts", "many", "whole number"),
    ("bootstraps", 0, "at least 1"),
    ("bootstraps", 10**12, "at most"),
    ("baselines", "loss", "names"),
    ("baselines", [3], "names"),
    ("indicators", [None], "names"),
    ("shuffled", {"a": 1}, "names"),
    ("explore", 1.5, "between 0 and 1"),
    ("seed", "a", "whole number"),
    ("seed", -1, "whole number"),
    ("seed", 2**53 + 1, "whole number"),
]


def _changed(good: dict[str, Any], at: str, value: Any) -> dict[str, Any]:
    data = copy.deepcopy(good)
    *way, last = [
        int(part) if part.isdigit() and part != "14" else part
        for part in at.replace("]", "").replace("[", ".").split(".")
    ]
    inside: Any = data
    for part in way:
        if isinstance(inside, dict):
            inside = inside.setdefault(part, {})
        else:
            inside = inside[part]
    inside[last] = value
    return data


def _seen(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def _refused(folder: Path, command: list[str], at: str, says: str, capsys: Any, key: str | None = None) -> None:
    """Exit 2, one line with the key and the words, and no file more than before."""
    before = _seen(folder)
    assert main(command) == 2, f"{at} was accepted"
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1, said.err
    assert len(said.err) < 1000
    if key is None:
        key = "tasks" if says == "label" else at.rpartition(".")[2].partition("[")[0]
    assert key in said.err, said.err
    assert says in said.err, said.err
    assert _seen(folder) == before


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a good recipe, where the command is called."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INTERP_CHECKPOINTS", str(tmp_path / "store"))
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(RECIPE))
    return tmp_path


@pytest.mark.parametrize(("at", "value", "says"), WRONG_EXPERIMENT)
def test_a_wrong_experiment_is_refused_before_anything(at, value, says, room, capsys):
    (room / "e.yaml").write_text(yaml.safe_dump(_changed(EXPERIMENT, at, value)))
    _refused(room, ["run", "e.yaml"], at, says, capsys)


@pytest.mark.parametrize(("at", "value", "says"), WRONG_RECIPE)
def test_a_wrong_recipe_is_refused_before_anything(at, value, says, room, capsys):
    (room / "tiny.yaml").write_text(yaml.safe_dump(_changed(RECIPE, at, value)))
    _refused(room, ["train", "tiny.yaml"], at, says, capsys)


@pytest.mark.parametrize(("at", "value", "says"), WRONG_CARD)
def test_a_wrong_card_is_refused_before_anything(at, value, says, room, capsys):
    (room / "own.yaml").write_text(yaml.safe_dump(_changed(CARD, at, value)))
    _refused(room, ["list", "checkpoints", "own.yaml"], at, says, capsys)


@pytest.mark.parametrize(("at", "value", "says"), WRONG_SPEC)
def test_a_wrong_spec_is_refused_before_anything(at, value, says, room, capsys):
    (room / "spec.yaml").write_text(yaml.safe_dump({at: value}))
    (room / "table.csv").write_text("run,step,task,measure,value,kind\na,0,t,exact_match,0,behaviour\n")
    _refused(room, ["leads", "table.csv", "--spec", "spec.yaml"], at, says, capsys)


def test_the_good_ones_are_read(room):
    (room / "e.yaml").write_text(yaml.safe_dump(EXPERIMENT))
    (room / "own.yaml").write_text(yaml.safe_dump(CARD))
    assert isinstance(interp.read_experiment(room / "e.yaml"), Experiment)
    assert isinstance(load_recipe("tiny.yaml"), Recipe)
    assert isinstance(read_card("own.yaml"), Card)
    assert read_spec({}) == read_spec(None) == Spec()


SECOND: list[tuple[dict[str, Any], str]] = [
    ({"recipe": "other.yaml"}, "n_heds"),
    ({"recipe": "odd.yaml"}, "rotary_dim"),
    ({"recipe": "same.yaml"}, "tiny:d8/base/seed0 in different ways"),
    ({"recipe": "missing.yaml"}, "missing.yaml"),
    ({"name": "no_such_family"}, "no_such_family"),
    ({"hub": "pythia", "sizes": ["14mm"]}, "did you mean '14m'"),
    ({"name": "pythia", "sizes": ["14mm"]}, "did you mean '14m'"),
]


@pytest.mark.parametrize(("second", "says"), SECOND)
def test_a_fault_in_the_second_family_is_found_before_the_first_is_grown(second, says, room, capsys):
    rotary = {**RECIPE["model"], "positional_embedding_type": "rotary"}
    others = {
        "other": {"name": "other", "model": {**RECIPE["model"], "n_heds": 2}},
        "odd": {"name": "odd", "model": rotary, "sizes": {"d9": {"d_model": 9, "d_head": 3, "d_mlp": 8}}},
        "same": {"steps": 6},
    }
    for name, change in others.items():
        (room / f"{name}.yaml").write_text(yaml.safe_dump({**RECIPE, **change}))
    families = [EXPERIMENT["families"][0], second]
    (room / "e.yaml").write_text(yaml.safe_dump({**EXPERIMENT, "families": families}))
    _refused(room, ["run", "e.yaml"], "families", says, capsys, key="")


def test_json_is_read_as_yaml_is(room):
    (room / "e.yaml").write_text(yaml.safe_dump(EXPERIMENT))
    (room / "e.json").write_text("\ufeff" + json.dumps(EXPERIMENT, indent="\t"))
    assert interp.read_experiment("e.json") == interp.read_experiment("e.yaml")


def test_a_record_is_checked_however_it_is_made():
    with pytest.raises(interp.InputError, match="delta is 2"):
        Spec(delta=2)
    with pytest.raises(interp.InputError, match=r"Spec has no key 'dleta'; did you mean 'delta'"):
        Spec(dleta=0.2)
    with pytest.raises(interp.InputError, match="folds is 1"):
        dataclasses.replace(Spec(), folds=1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Spec().seed = 3
    experiment = parse_experiment(EXPERIMENT)
    with pytest.raises(interp.InputError, match="unknown device 'gpu'"):
        dataclasses.replace(experiment, device="gpu")


@pytest.mark.parametrize("name", ["a", "d8", "1.3b", "no_weight_decay", "grokking-2", "x" * 100, "größe", "a+b=c"])
def test_what_is_a_name(name):
    assert is_name(name)
    assert parse_experiment({**EXPERIMENT, "name": name}).name == name


# What a file may be

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in itertools.pairwise("abcdefgh")
)
"""Eight lines that stand for 10^8 values."""

NO_JSON = ['{"a": 1, "a": 2}', '{"a": NaN}', '{"a": -Infinity}', "[1]", "{", "", "null", "[" * 100_000]
NO_JSON += ['{"a": ' + "9" * 5000 + "}", '{"a":' * 60 + "1" + "}" * 60]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\na: 2", "'a' is given twice"),
        ("{a: {b: 1, b: 2}}", "'b' is given twice"),
        ("a: &a [*a]", "alias"),
        ("a: *b", "alias"),
        ("a: [1", "not valid YAML"),
        ("a: 1\n---\nb: 2", "not valid YAML"),
        ("!!python/object/apply:os.system ['true']", "not valid YAML"),
        ("a: !!binary aGk=", "not read"),
        ("a: !!set {x}", "not read"),
        ("[1]: 2", "expected text"),
        ("- 1", "a list"),
        ("", "nothing"),
        ("text", "'text'"),
        ("a: \x07", "not valid YAML"),
        ("a: " + "9" * 5000, "not valid YAML"),
        ("a: " + "[" * 60 + "]" * 60, "levels"),
        ("{" * 3000, "levels"),
        ("a: [" + "x," * 60_000 + "]", "more than 50000"),
        ("a: {" + ",".join(f"k{i}: 1" for i in range(40_000)) + "}", "more than 50000"),
        ("a: " + "x" * 2**21, "bytes"),
        (BOMB, "more than 50000"),
        ("a: &a {k: 1}\n" + "\n".join(f"b{i}: {{<<: [{','.join(['*a'] * 300)}]}}" for i in range(200)), "more than 50000"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_refused_in_a_moment(text, says, tmp_path):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(interp.InputError, match=r"x\.yaml") as caught:
        read_document(tmp_path / "x.yaml")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("text", NO_JSON)
def test_json_that_is_none_is_refused(text, tmp_path):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(interp.InputError, match=r"x\.json") as caught:
        read_document(tmp_path / "x.json")
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_and_files_that_are_none(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"name: \xff\xfe")
    for path in (tmp_path / "x.yaml", tmp_path, tmp_path / "y.yaml"):
        with pytest.raises(interp.InputError):
            read_document(path)


def test_scalars_are_those_of_yaml_1_2(tmp_path):
    (tmp_path / "x.yaml").write_text(
        "octal: 010\nsci: 2e-3\nhex: 0x1F\nyes: yes\noff: off\nclock: 1:30\ndate: 2024-01-01\nnone: ~\nt: true\n"
        "under: 1_000\nbase: &b {lr: 1, wd: 0}\nover: {<<: *b, lr: 2}\n"
    )
    assert read_document(tmp_path / "x.yaml") == {
        "octal": 10, "sci": 0.002, "hex": 31, "yes": "yes", "off": "off", "clock": "1:30", "date": "2024-01-01",
        "none": None, "t": True, "under": "1_000", "base": {"lr": 1, "wd": 0}, "over": {"lr": 2, "wd": 0},
    }  # fmt: skip


# What is shipped


def test_the_reference_of_the_records_is_up_to_date():
    """Made anew by `python -m interp.cli.schema > docs/schema.md`."""
    assert (Path(__file__).parents[1] / "docs" / "schema.md").read_text(encoding="utf-8") == schema()


def test_every_shipped_file_is_read_and_comes_back():
    for path in shipped("recipe").values():
        assert load_recipe(path).name
    for name in shipped("experiment"):
        experiment = read_experiment(name)
        assert parse_experiment(yaml.safe_load(yaml.safe_dump(resolved(experiment)))) == experiment
    assert all(read_card(name).name == name for name in card_names())


def test_shipped_files_are_found_by_name_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert named("grokking", "experiment") == shipped("experiment")["grokking"]
    assert load_recipe("grokking_mini").name == "grokking_mini"
    with pytest.raises(interp.InputError, match="did you mean 'grokking'"):
        named("groking", "experiment")
    with pytest.raises(interp.InputError, match="called 'mini'"):
        named("experiments/mini.yaml", "experiment")
    (tmp_path / "grokking").write_text("name: own")
    assert named("grokking", "experiment") == Path("grokking")  # one's own file comes first


def test_devices_are_there_or_refused():
    check_device("cpu")
    with pytest.raises(interp.InputError, match="'cuda:99' is not there"):
        check_device("cuda:99")


def test_help_and_import_are_without_pydantic():
    code = (
        "import sys, interp, interp.cli; interp.cli.main([]); print('pydantic' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ})
    assert done.stdout.splitlines()[-1] == "False False"


def test_the_largest_whole_number_is_one_that_floats_hold():
    assert MOST == 2**53 == int(float(MOST))
    assert parse_experiment({**EXPERIMENT, "seed": MOST}).seed == MOST


def test_every_field_of_every_record_says_what_it_means():
    for records in FILES.values():
        for record in records:
            assert set(_meanings(record)) == {field.name for field in dataclasses.fields(record)}


def test_pins_with_digests_are_the_pins():
    root = Path(__file__).parents[1]
    pins = {line for line in (root / "constraints.txt").read_text().splitlines() if "==" in line}
    lines = [line.split() for line in (root / "constraints-hashed.txt").read_text().splitlines() if "==" in line]
    assert {pin for pin, *_ in lines} == pins - {pin for pin in pins if pin.startswith("torch==")}
    assert all(digests and all(len(one) == len("--hash=sha256:") + 64 for one in digests) for _, *digests in lines)
