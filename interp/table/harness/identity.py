"""Which model, at which step, a result file is about, and what else decided its numbers."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from interp.table.harness.scores import mapping

# "step3000", "step-50K-105b" (TinyLlama: steps, then tokens), "stage1-step150-tokens1B" (OLMo 2), "checkpoint-100",
# "global_step1000" (BLOOM), "ckpt_000" (Amber), "ep0-ba1000" (MosaicML). A number of tokens ("checkpoint-50B") is no step.
_STEP = re.compile(
    r"(?<![A-Za-z])(?:global[-_]?steps?|steps?|ch(?:ec)?kpt|ckpt|checkpoint|iter(?:ation)?s?|(?<![A-Za-z0-9])ba)[-_= ]?"
    r"(\d{1,3}(?:,\d{3})+(?![\d,])|\d+(?:\.\d+)?(?:e\d+)?)(?:([km])(?![A-Za-z]))?(?!\d|[.,]\d|_\d{3}(?!\d)|e-\d|[bt](?![A-Za-z]))",
    re.IGNORECASE,
)
_TOKENS = re.compile(r"(?<=[-_])(\d+(?:\.\d+)?)([mbt])(?![A-Za-z0-9])", re.IGNORECASE)
_SAID_TOKENS = re.compile(
    r"tokens?[-_=]?(\d+(?:\.\d+)?(?:e\d+)?)([mbt]?)(?![A-Za-z0-9])|(?<![A-Za-z0-9.])(\d+(?:\.\d+)?(?:e\d+)?)([mbt]?)[-_]?tokens?(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_WHERE = re.compile(  # the part of a model's name that says where in training it is
    r"[-_/.]?(?:intermediate[-_])?" + _STEP.pattern + r"(?:[-_](?:tokens?[-_]?)?\d+(?:\.\d+)?[mbt](?![A-Za-z0-9]))?",
    re.IGNORECASE,
)
_SIZE = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)([kmbt])(?![A-Za-z0-9])", re.IGNORECASE)
_SEED = re.compile(r"[-_]seed[-_]?(\d+)", re.IGNORECASE)
_UNIT = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}

ADAPTERS = ("peft", "adapter", "lora_local_path", "delta")
NO_FACTS = {
    # said elsewhere: the model, its revision, the shots of each task
    "model_args", "model_name", "pretrained", "path", "revision", "model_revision", "num_fewshot", "model_config",
    # where and how fast, not what
    "device", "device_map", "device_map_option", "parallelize", "batch_size", "batch_sizes", "max_batch_size",
    "override_batch_size", "use_cache", "no_cache", "cache_dir", "cache_requests", "bootstrap_iters", "offload_folder",
    "max_memory_per_gpu", "max_cpu_memory", "gpus", "tensor_parallel_size", "data_parallel_size", "pipeline_parallel_size",
    "gpu_memory_utilization", "swap_space", "low_cpu_mem_usage", "use_accelerate", "num_concurrent", "max_retries",
    "local_files_only", "token", "use_auth_token", "trust_remote_code", "log_samples", "output_path", "job_id",
    "start_time", "end_time", "total_evaluation_time_secondes", "total_evaluation_time_seconds", "lighteval_sha",
    "model_num_parameters", "model_size", "config", "predict_only", "write_out", "verbosity",
}  # fmt: skip
"""Entries of a configuration that do not change what is measured. Whatever is not listed does: a name we have not met
keeps two inputs apart rather than letting them meet."""
NO_INPUT = NO_FACTS - {"model_name", "pretrained", "path", "revision", "model_revision", "model_config", "num_fewshot"} | {
    # what came out
    "results", "groups", "summary_general", "higher_is_better", "details", "versions",
    # when and where
    "date", "git_hash", "upper_git_hash", "pretty_env_info", "transformers_version", "model_name_sanitized", "cli_configs",
}  # fmt: skip
"""Entries anywhere in a file that are not part of what was asked of which model."""
STATE = ("model_sha", "peft_sha", "delta_sha")
ABOUT_PROMPTS = (
    "chat_template", "chat_template_sha", "fewshot_as_multiturn", "system_instruction", "system_instruction_sha", "max_length",
    "limit", "random_seed", "numpy_seed", "torch_seed", "fewshot_seed",
)  # fmt: skip
"""Entries beside `config` in the harness's new layout that change the prompts, or which of them are asked."""
NOT_ABOUT_TASK = {"task", "task_alias", "group", "group_alias", "tag", "num_fewshot", "metadata"}
"""Entries of `configs` by task that do not say what is asked, or say it a second time: names, shots, and versions."""
LARGEST_STEP = 2**53  # float64 is exact up to here


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Origin:
    """Where a file's numbers come from.

    name: the run's short name: the model's last part, and its adapter's, without the step.
    tokens: trained on at this step; NaN where no name says it.
    facts: what else decided the numbers, the same at every step of a run. state: what belongs to this checkpoint alone.
    """

    name: str
    step: int
    tokens: float
    facts: Mapping[str, str]
    state: Mapping[str, str]

    @property
    def seed(self) -> int:
        found = _SEED.search(self.name)
        return int(found[1]) if found else 0

    def setting(self, full: str | None = None) -> str:
        """The run's name without its seed."""
        return _SEED.sub("", full or self.name)

    @property
    def size(self) -> str:
        found = _SIZE.search(self.setting())
        return found[0] if found else ""

    @property
    def n_params(self) -> float:
        found = _SIZE.search(self.setting())
        return float(found[1]) * _UNIT[found[2].lower()] if found else math.nan

    @property
    def family(self) -> str:
        setting = self.setting()
        return setting[: setting.index(self.size)].rstrip("-_") if self.size else setting


def origin_of(log: Mapping[str, Any], file: Path, source: Path) -> Origin:
    """Who was evaluated.

    Raises:
        ValueError: no step in the file's configuration or names, or one that cannot be.
    """
    config = _configuration(log)
    inside = file.relative_to(source.parent) if source in file.parents else Path(file.name)
    given = next((config[key] for key in ("pretrained", "path", "model", "model_name") if config.get(key)), None)
    given = str(given or log.get("model_name") or inside.parent.as_posix() or file.parent.name).rstrip("/")
    adapter = next((str(config[key]).rstrip("/") for key in ADAPTERS if config.get(key)), "")
    revision = str(config.get("revision") or config.get("model_revision") or "")
    step, text = _step((adapter, revision, file.stem, given, inside.parent.as_posix()))
    name = _last(given) or file.parent.name
    facts = _facts(config, log)
    state = {key: facts.pop(key) for key in STATE if key in facts}
    facts["model"] = _plain(given)
    if adapter:
        name += f"+{_last(adapter)}"
        facts["model"] += f"+{_plain(adapter)}"
        if _STEP.search(adapter) and (
            base := _STEP.search(revision)
        ):  # an adapter in training on a base that is a checkpoint
            facts["base"] = base[0]
    stage = _plain(revision) if _STEP.search(revision) else revision
    if stage not in ("", "main", "stage1"):  # early branches of OLMo 2 leave "stage1" out
        facts["stage"] = stage
    tokens = _tokens(text)
    if not math.isnan(tokens):
        state["tokens"] = f"{tokens:g}"
    return Origin(name=name, step=step, tokens=tokens, facts=facts, state=state)


def task_facts(log: Mapping[str, Any], task: str) -> tuple[str, int, dict[str, str], dict[str, str]]:
    """The task's name, its number of shots, what else says how it was asked, and what shows that without saying how: of which
    examples the number is, or of which other tasks."""
    asked = mapping(mapping(log.get("configs")).get(task))
    places = (mapping(log.get("n-shot")).get(task), asked.get("num_fewshot"), _configuration(log).get("num_fewshot"))
    name, shots = task, next((place for place in (*places, log.get("num_fewshot")) if place is not None), None)
    parts = task.split("|")
    if "config_general" in log and len(parts) >= 3:  # lighteval: suite|task|shots, and in older files |truncation
        name, shots = "|".join(parts[:2]), parts[2]
    facts = {}
    version: Any = mapping(log.get("versions")).get(task, mapping(asked.get("metadata")).get("version"))
    if version not in (None, "", "N/A", "Yaml"):
        facts["version"] = str(version)
    if asked := {
        key: value for key, value in asked.items() if key not in NOT_ABOUT_TASK and value not in (None, "", [], {})
    }:
        facts["prompt"] = _text(asked)
    return name, _whole(shots), facts, _examples(log, task)


def _whole(shots: Any) -> int:
    """A number of shots; older files have it in a list, or as text."""
    shots = shots[0] if isinstance(shots, list) and len(shots) == 1 else shots
    text = str(shots).removesuffix(".0")
    return int(text) if text.isdecimal() else 0


def _examples(log: Mapping[str, Any], task: str) -> dict[str, str]:
    """Which examples a number is of, as far as a file shows it: how many, their digest, and of a mean over tasks, which tasks."""
    counts = mapping(mapping(log.get("n-samples")).get(task))
    found = {"n": counts.get("effective"), "task_hash": mapping(log.get("task_hashes")).get(task)}
    if "config_general" in log and (task == "all" or "_average" in task):
        names = sorted(name for name in mapping(log.get("results")) if name != "all" and "_average" not in name)
        found["over"] = "+".join(names)
    elif parts := mapping(log.get("group_subtasks")).get(task):
        found["over"] = "+".join(sorted(map(str, parts)))
    return {key: str(value) for key, value in found.items() if value not in (None, "")}


def inputs_of(log: Mapping[str, Any]) -> Callable[[str], dict[str, str]]:
    """All that a file says of what was asked, of a task and of the model, as one digest a task: two files that agree in it hold
    the same input measured twice."""
    names = {*mapping(log.get("results")), *mapping(log.get("groups"))}
    names |= {name.rpartition("|")[0] for name in names if "|" in name}  # lighteval: without its shots
    config = {**mapping(log.get("config_general")), **mapping(log.get("config"))}
    entries = {key: value for key, value in log.items() if key not in ("config", "config_general")}
    entries |= {f"config.{key}": value for key, value in _configuration(log).items() if key not in NO_INPUT}
    entries["configuration"] = {
        key: value for key, value in config.items() if key not in ("model_args", "model_config")
    }
    by_task = {
        key: value
        for key, value in entries.items()
        if isinstance(value, Mapping) and (key == "group_subtasks" or not names.isdisjoint(value))
    }
    of_all = _text(_input({key: value for key, value in entries.items() if key not in by_task}))

    def of(task: str) -> dict[str, str]:
        own = (task, task.rpartition("|")[0])
        parts = {key: [value[name] for name in own if name in value] for key, value in by_task.items()}
        text = of_all + _text(_input({"task": task, **parts}))
        return {"input": sha256(text.encode()).hexdigest()[:8]}

    return of


def _input(value: Any) -> Any:
    """`value` without what stands for the default, and without what is no input."""
    if isinstance(value, Mapping):
        parts = {str(key): _input(inner) for key, inner in value.items() if key not in NO_INPUT}
        return {key: inner for key, inner in parts.items() if inner not in ("", [], {})}
    return [_input(inner) for inner in value] if isinstance(value, list) else _text(value)


def shown(fact: str, value: str) -> str:
    """`fact=value` as part of a run's name; a long value or a path by its digest."""
    short = len(value) <= 24 and "/" not in value
    return f"{fact}={value if short else sha256(value.encode()).hexdigest()[:8]}"


def _configuration(log: Mapping[str, Any]) -> dict[str, Any]:
    """Every entry of the configuration, those of model_args (or lighteval's model_config) among them."""
    config = {**mapping(log.get("config_general")), **mapping(log.get("config"))}
    config["backend"] = config.pop("model", None)  # the harness's word for the code that runs it
    if isinstance(inner := config.get("model_config"), Mapping):
        del config["model_config"]
    return {**config, **mapping(inner), **_arguments(config.get("model_args"))}


def _arguments(text: Any) -> dict[str, Any]:
    if isinstance(text, Mapping):
        return {str(name): value for name, value in text.items()}
    parts = [part.partition("=") for part in re.split(r",(?=[^,=]*=)", str(text or ""))]  # "revision=step-1,000" is one
    return {name.strip(): value.strip().strip("\"'") for name, _, value in parts if value}


def _facts(config: Mapping[str, Any], log: Mapping[str, Any]) -> dict[str, str]:
    entries = {**config, **{key: log[key] for key in ABOUT_PROMPTS if key in log}}
    return {
        key: _WHERE.sub("", text)  # a tokenizer's path may hold the step
        for key, value in entries.items()
        if key not in NO_FACTS and key not in ADAPTERS and (text := _text(value))
    }


def _text(value: Any) -> str:
    """A value as text; "" for what stands for the default."""
    text = json.dumps(value, sort_keys=True, default=str) if isinstance(value, Mapping | list) else str(value)
    text = re.sub(r" at 0x[0-9a-f]+", "", text)  # where a function lay in memory
    return "" if text.lower() in ("none", "null", "false", "auto", "", "{}", "[]") else text


def _step(names: tuple[str, ...]) -> tuple[int, str]:
    """The step in the first of the names that has one, and that name."""
    for text in names:
        if found := _STEP.findall(text):
            number, unit = found[-1]
            step = float(number.replace(",", "")) * _UNIT.get(unit.lower(), 1)
            if step >= LARGEST_STEP or not step.is_integer():
                raise ValueError(
                    f"step {number}{unit} is {'no whole number' if step < LARGEST_STEP else 'too large to be one'}"
                )
            return int(number) if not unit and number.isdecimal() else int(step), text
    raise ValueError("no step in config.model_args or in the file's name")


def _tokens(text: str) -> float:
    """Tokens trained on, as the name says, or shows behind its step; NaN where it does not (a size stands before the step)."""
    *_, last = _STEP.finditer(text)
    found = (
        _SAID_TOKENS.search(text, last.end())
        or _SAID_TOKENS.search(text[: last.start()])
        or _TOKENS.search(text, last.end())
    )
    number, unit = [part for part in found.groups() if part is not None] if found else ("nan", "")
    return float(number) * _UNIT.get(unit.lower(), 1)


def _plain(name: str) -> str:
    """A name without its place in training."""
    return re.sub(
        r"[-_]?tokens?[-_=]?\d+(?:\.\d+)?(?:e\d+)?[mbt]?\b", "", _WHERE.sub("", name), flags=re.IGNORECASE
    ).strip("/-_")


def _last(name: str) -> str:
    return PurePosixPath(_plain(name)).name
