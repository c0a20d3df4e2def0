"""Names that people have: repositories of a hub, the steps that revisions say, and what fits no pattern."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch

import interp
from interp.cli import main
from interp.families import asking, card, family, overview, resolve, stream
from interp.families.hub_ids import discovered, read_revision, split_id
from tests.loopback_hub import Hub, serving

TOKENS = torch.arange(12)[None]
STEPS = (0, 1000, 20000)


def gpt2(seed: int) -> torch.nn.Module:
    import transformers as hf

    torch.manual_seed(seed)
    config = hf.GPT2Config(
        n_layer=2, n_embd=16, n_head=2, n_positions=16, vocab_size=40, bos_token_id=0, eos_token_id=0
    )
    return hf.GPT2LMHeadModel(config).eval()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[torch.nn.Module, Path]]:
    found = {}
    for seed, revision in enumerate(["step0", "step1000-tokens4B", "20k", "main", "final"]):
        folder = tmp_path_factory.mktemp("revision")
        (module := gpt2(seed)).save_pretrained(folder)
        found[revision] = module, folder
    return found


@pytest.fixture
def server(
    published: dict[str, tuple[torch.nn.Module, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Hub]:
    import huggingface_hub

    with serving(Hub()) as running:
        for revision, (_, folder) in published.items():
            running.add("lab/tiny", revision, folder)
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("INTERP_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "standard"))
        monkeypatch.setattr(asking, "PAUSES", (0.01, 0.01))
        monkeypatch.chdir(tmp_path)
        yield running


@pytest.mark.parametrize(
    ("name", "expected"),
    {
        "step1000": ("base", 0, 1000, None),
        "step1000-tokens4B": ("base", 0, 1000, 4 * 10**9),
        "stage1-step150-tokens1B": ("stage1", 0, 150, 10**9),
        "stage2-ingredient1-step11931-tokens50B": ("stage2-ingredient1", 0, 11931, 50 * 10**9),
        "stage1-step-40000": ("stage1", 0, 40000, None),
        "checkpoint-100": ("base", 0, 100, None),
        "global_step1000": ("base", 0, 1000, None),
        "ckpt_000": ("base", 0, 0, None),
        "step-40000": ("base", 0, 40000, None),
        "20k": ("base", 0, 20000, None),
        "step_2000k": ("base", 0, 2_000_000, None),
        "step2627139-tokens15T": ("base", 0, 2627139, 15 * 10**12),
        "step500-tokens2.5B": ("base", 0, 500, 2_500_000_000),
        "step69369-seed-default": ("seed-default", 0, 69369, None),
        "step100-seed3": ("base", 3, 100, None),
        "longctx-step1000": ("longctx", 0, 1000, None),
    }.items(),
)
def test_names_of_revisions_say_step_tokens_stage_and_seed(
    name: str, expected: tuple[str, int, int, int | None]
) -> None:
    said = read_revision(name)
    assert said is not None
    assert (said.setting, said.seed, said.step, said.tokens) == expected


@pytest.mark.parametrize(
    "name",
    ["main", "v1.0", "it-SFT", "7B", "1000", "2024-05-01", "step", "stepwise", "step1.5", "step10_4B", "a/step1", ""],
)
def test_names_without_a_step_of_a_known_form_are_not_guessed(name: str) -> None:
    assert read_revision(name) is None


def test_every_revision_is_a_checkpoint_of_its_own_or_counted() -> None:
    names = ["main", "step0", "step10", "step-10", "checkpoint-20", "stage2-step10", "odd", "step30-tokens1B", "step30"]
    refs, unread = discovered("lab/x", names)
    places = [(ref.setting, ref.seed, ref.step) for ref in refs]
    assert len(set(places)) == len(places)
    assert sorted([ref.manifest["source"]["revision"] for ref in refs] + unread) == sorted(names)
    assert set(unread) == {"main", "odd", "step10", "step-10", "step30-tokens1B", "step30"}


@pytest.mark.parametrize(
    "text", ["a/b/c", "/a/b", "./a/b", "../a", "a", "a:b/c", "a/b@", "a/b@x y", "a/..", "a/b@../c", "~/b"]
)
def test_what_is_no_repositorys_name(text: str) -> None:
    assert split_id(text) is None


@pytest.mark.parametrize("revision", ["step0", "step1000-tokens4B", "20k", "final", None])
def test_a_repositorys_revision_loads_as_it_was_published(
    revision: str | None, server: Hub, published: dict[str, tuple[torch.nn.Module, Path]]
) -> None:
    name = "lab/tiny" if revision is None else f"lab/tiny@{revision}"
    with torch.no_grad():
        assert torch.equal(interp.load(name)(TOKENS), published[revision or "main"][0](TOKENS).logits)


def test_nothing_is_asked_before_it_is_wanted(server: Hub) -> None:
    found = family("lab/tiny")
    assert found.sizes == ("own",)
    assert sum(server.requests.values()) == 0


def test_a_repository_is_a_family_of_its_revisions(
    server: Hub, published: dict[str, tuple[torch.nn.Module, Path]]
) -> None:
    found = family("lab/tiny")
    with pytest.warns(UserWarning, match=r"lab/tiny: 2 of 5 revisions fit no pattern.*final, main"):
        refs = found.refs
    assert [(ref.setting, ref.step, ref.tokens) for ref in refs] == [
        ("base", 0, None), ("base", 1000, 4 * 10**9), ("base", 20000, None),
    ]  # fmt: skip
    assert sorted(found.unread()) == ["final", "main"]
    for ref, model in stream(refs):
        with torch.no_grad():
            own = published[ref.manifest["source"]["revision"]][0]
            assert torch.equal(model(TOKENS), own(TOKENS).logits)


@pytest.mark.filterwarnings("ignore:lab/tiny")
def test_addresses_and_repositories_names_agree(server: Hub) -> None:
    ref = resolve("lab/tiny:own/base/seed0@step20000")
    assert ref.manifest["source"]["revision"] == "20k"
    with pytest.raises(interp.InputError, match=r"no step 7; the nearest is 0"):
        resolve("lab/tiny:own@step7")


def test_main_alone_is_no_reason_to_warn(server: Hub) -> None:
    del server.repos["lab/tiny"]["final"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(family("lab/tiny").refs) == 3
    assert family("lab/tiny").unread() == ["main"]


def test_a_repository_without_steps_says_so(server: Hub) -> None:
    server.repos["lab/last"] = {"main": server.repos["lab/tiny"]["main"]}
    with pytest.warns(UserWarning, match="1 of 1 revisions"):
        assert family("lab/last").refs == []


@pytest.mark.parametrize("name", ["nothing", "nothing@step3", "/no/such/folder", "a/b/c", "runs/lost"])
def test_what_is_neither_is_told_all_three_forms(name: str, server: Hub) -> None:
    Path("runs").mkdir()
    with pytest.raises(interp.InputError) as told:
        interp.load(name)
    assert all(form in str(told.value) for form in ("folder", "family:size", "org/name[@revision]"))
    assert "\n" not in str(told.value)
    assert sum(server.requests.values()) == 0


def test_a_repository_or_revision_that_is_not_there_is_named(server: Hub) -> None:
    with pytest.raises(interp.InputError, match=r"lab/none@main.*no such repository"):
        interp.load("lab/none")
    with pytest.raises(interp.InputError, match=r"lab/tiny@step7.*no such revision"):
        interp.load("lab/tiny@step7")


@pytest.mark.filterwarnings("ignore:lab/tiny")
@pytest.mark.parametrize("key", ["hub", "name"])
def test_an_experiment_measures_a_repository(key: str, server: Hub) -> None:
    Path("own.yaml").write_text(
        f"name: own\nfamilies: [{{{key}: lab/tiny}}]\ntasks: [{{name: modular_addition, n_prompts: 4, params: {{p: 7}}}}]\n"
        "measures: [weight_norm]\nseed: 0\n"
    )
    assert main(["run", "own.yaml", "--out", "results", "--workers", "1", "--no-report"]) == 0
    table = pd.concat(pd.read_parquet(path) for path in sorted(Path("results").rglob("*.parquet")))
    assert sorted(set(table["step"])) == list(STEPS)


# cards


def test_what_fits_no_pattern_of_a_card_is_counted(
    server: Hub, published: dict[str, tuple[torch.nn.Module, Path]]
) -> None:
    for name in ("stage1-step-40000", "stage2-step-3480000", "it-SFT", "lc-4k-to-32k-step-4000", "main"):
        server.add("HuggingFaceTB/SmolLM3-3B-checkpoints", name, published["main"][1])
    found = family("smollm3")
    with pytest.warns(UserWarning, match=r"3 of 5 revisions .*it-SFT, lc-4k-to-32k-step-4000, main"):
        refs = found.refs
    assert [(ref.setting, ref.step, ref.tokens) for ref in refs] == [
        ("base", 40000, 40000 * 2359296), ("stage2", 3480000, 3480000 * 2359296),
    ]  # fmt: skip
    entry = next(entry for entry in overview() if entry["name"] == "smollm3")
    assert entry["unread"] == 3
    assert "3 names fit no pattern" in entry["about"]


LISTED = {
    "olmo2": (
        "7b",
        {"stage1-step150-tokens1B": ("base", 150, 10**9), "step150-tokens1B": ("unprefixed", 150, 10**9),
         "stage2-ingredient3-step11931-tokens50B": ("ingredient3", 11931, 50 * 10**9)},
        ["main"],
    ),
    "olmo3": (
        "7b",
        {"stage1-step1413814": ("base", 1413814, None), "stage2-step47684": ("stage2", 47684, None),
         "stage3-step11921": ("stage3", 11921, None)},
        ["main", "stage2-step47684-mix-round5-from-2T-ckpt"],
    ),
    "apertus": (
        "8b",
        {"step50000-tokens210B": ("base", 50000, 210 * 10**9), "step2627139-tokens15T": ("base", 2627139, 15 * 10**12)},
        ["main", "longctx-step500"],
    ),
    "datadecide": ("1b", {"step69369-seed-default": ("c4", 69369, None), "step5-seed-large-aux-2": ("c4", 5, None)}, ["main"]),
}  # fmt: skip


@pytest.mark.parametrize("name", LISTED)
def test_the_patterns_of_cards_read_their_sources_names(name: str) -> None:
    size, fitting, others = LISTED[name]
    read = card.read_card(name)
    asked = [*fitting, *others]
    refs = list(card.hub_checkpoints(read, lambda *_: asked, sizes=[size]))
    found = {ref.manifest["source"]["revision"]: (ref.setting, ref.step, ref.tokens) for ref in refs}
    if name == "datadecide":
        refs = [ref for ref in refs if ref.setting == "c4"]
        found = {ref.manifest["source"]["revision"]: (ref.setting, ref.step, ref.tokens) for ref in refs}
        assert {ref.seed for ref in refs} == {6198, 4}
        assert refs[0].manifest["source"]["repo"] == "allenai/DataDecide-c4-1B"
    assert found == fitting
    for unread in card.unread_names(read, lambda *_: asked, sizes=[size]).values():
        assert unread == others


def test_named_phases_are_steps_of_one_training() -> None:
    refs = family("marin").refs
    assert [ref.manifest["source"]["revision"] for ref in refs] == [
        "kestrel",
        "ocelot",
        "jellyfish",
        "phoenix",
        "starling",
    ]
    assert [ref.tokens for ref in refs] == [2.7e12, 3.78e12, 4.78e12, 11.1e12, 12.75e12]


def test_a_card_without_a_way_to_its_steps_says_why() -> None:
    with pytest.raises(interp.InputError, match=r"pico.*commits of the branch pico-decoder-SIZE-1"):
        resolve("pico:large@step1000")


def test_new_cards_say_their_source_and_what_was_not_verified() -> None:
    for name in ("smollm3", "olmo2", "olmo3", "apertus", "datadecide", "pico", "marin"):
        about = card.read_card(name).about
        assert about["source"]
        assert any("not verified" in note for note in about["notes"])


@pytest.mark.parametrize(
    "text",
    [
        "steps: {a: 1, b: 1}\nrevision: '{named}'\n",
        "steps: {a/b: 1}\nrevision: '{named}'\n",
        "steps: {a: 1, b: 2}\nrevision: main\n",
        "steps: [0]\nseeds: [0, 1]\nseed_names: [x]\nrevision: 's{seed_name}'\n",
        "steps: nowhere\n",
    ],
)
def test_broken_names_in_cards_are_one_message(text: str, tmp_path: Path) -> None:
    path = tmp_path / "card.yaml"
    path.write_text(f"name: x\nrepo: a/b\nsizes: {{a: {{}}}}\n{text}")
    with pytest.raises(interp.InputError, match="card"):
        family(str(path))
