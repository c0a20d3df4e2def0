"""Interventions during training: the record that a recipe writes, and what a run makes of it.

A run's are spelled out in plain data, placebos drawn, so that the plan and the manifest say what is done:
`{"kind": "pattern", "on": ["L0H0"], "from": 0, "until": 400, "dose": 0.5, "offset": 4, "placebo": {"offset": 1}}`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from interp.documents import short
from interp.documents.records import Fits, is_whole, number, one_of, record, text, whole
from interp.errors import InputError, unknown
from interp.seeds import derive

OFFSETS = {"current_token": 0, "previous_token": 1}
ROLES = (*OFFSETS, "first_token", "uniform")
PLACEBO_OFFSETS = range(2, 8)
"""Tokens back of a placebo's pattern. A choice: as near as the previous token, and nearer than what skills repeat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a kind of intervention takes. on: sorts of components, the first of them where none is named, () for none.
    dose: what fits; usual: its default, None where it must be given. keys: that go with it. placebo: whether it has one."""

    on: tuple[str, ...]
    dose: Fits
    usual: float | None = None
    keys: tuple[str, ...] = ()
    placebo: bool = True


_SHARE = Fits("a number above 0, at most 1", lambda value: number(0, 1, with_ends=True).test(value) and value > 0)
_EITHER_WAY = Fits(
    "a number from -1 to 1, not 0", lambda value: number(-1, 1, with_ends=True).test(value) and value != 0
)
_ABOVE = number(0)
KINDS: Mapping[str, Kind] = {
    "ablate": Kind(on=("head", "attn", "mlp"), dose=_SHARE, usual=1.0),
    "boost": Kind(on=("head", "attn", "mlp"), dose=_ABOVE, usual=1.0),
    "pattern": Kind(on=("head",), dose=_SHARE, usual=1.0, keys=("role", "offset")),
    "forbid": Kind(on=("head",), dose=_SHARE, usual=1.0, keys=("role", "offset")),
    "freeze": Kind(on=("head", "attn", "mlp", "embed", "unembed"), dose=_SHARE, usual=1.0),
    "weight_norm": Kind(on=("all", "head", "attn", "mlp", "embed", "unembed"), dose=_ABOVE, usual=1.0),
    "logit_scale": Kind(on=(), dose=_ABOVE, placebo=False),
    "fourier": Kind(on=("embed",), dose=_EITHER_WAY, keys=("frequencies",)),
}


def _is_frequencies(value: Any) -> bool:
    if isinstance(value, Mapping):
        return list(value) == ["random"] and whole(1).test(value["random"])
    return isinstance(value, list | tuple) and len(value) > 0 and all(is_whole(one) and one > 0 for one in value)


def _components(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


_NAMED = Fits(
    "a component or a list of them (L0H1, L0.attn, L0.mlp, embed, unembed, all)",
    lambda value: (
        text().test(value)
        or (isinstance(value, list | tuple) and len(value) > 0 and all(text().test(one) for one in value))
    ),
)


@record
class TrainingIntervention:
    """What is done to a run while it trains; docs/interventions.md says what each kind does."""

    kind: Annotated[str, one_of(*KINDS)]
    """What is done."""
    on: Annotated[Any, _NAMED, AfterValidator(_components)] = ()
    """Which components: a head `L0H1`, `L0.attn` (of `pattern` and `forbid`: all heads of the layer), `L0.mlp`, `embed`,
    `unembed`, `all`."""
    from_: Annotated[int, whole(), Field(alias="from")] = 0
    """The step whose checkpoint is the last without it."""
    until: Annotated[int, whole(1)] | None = None
    """The last step that is taken under it; the run's last where it is left out."""
    dose: Annotated[float, number()] | None = None
    """How much: a share up to 1 of ablate, pattern, forbid, freeze; how much more of boost; the factor of weight_norm and
    logit_scale; the share a step of fourier, below 0 to take its frequencies away. 1 where it is left out; logit_scale and
    fourier need one."""
    role: Annotated[str, one_of(*ROLES)] | None = None
    """Of pattern and forbid: where heads attend to."""
    offset: Annotated[int, whole()] | None = None
    """Instead of a role, so many tokens back."""
    frequencies: Annotated[Any, Fits("a list of frequencies of at least 1, or {random: n}", _is_frequencies)] | None = (
        None
    )
    """Of fourier: those of Z_p, or so many that each seed draws."""
    placebo: Annotated[bool, Fits("true or false", lambda value: isinstance(value, bool))] = False
    """Whether, in place of what is named, something else of the same sort is drawn from the run's own stream."""


Planned = dict[str, Any]


def plan_interventions(
    asked: Sequence[TrainingIntervention],
    *,
    model: Mapping[str, Any],
    steps: int,
    modulus: int | None,
    seed: int,
    where: str,
) -> tuple[Planned, ...]:
    """The interventions of one run, spelled out.

    modulus: of the task, None where it has none. seed: the run's.

    Raises:
        InputError: a component that the model has not, a key that does not go with the kind, a step past the end.
    """
    out = []
    for index, one in enumerate(asked):
        try:
            out.append(
                _planned(one, model=model, steps=steps, modulus=modulus, stream=derive(seed, "intervention", index))
            )
        except InputError as error:
            raise InputError(f"{where}: interventions[{index}]: {error}") from None
    return tuple(out)


def _planned(
    one: TrainingIntervention, *, model: Mapping[str, Any], steps: int, modulus: int | None, stream: int
) -> Planned:
    kind, until = KINDS[one.kind], steps if one.until is None else one.until
    dose = kind.usual if one.dose is None else one.dose
    for key in ("role", "offset", "frequencies"):
        if getattr(one, key) is not None and key not in kind.keys:
            raise InputError(f"{one.kind} has no key {key!r}")
    if not one.from_ < until <= steps:
        raise InputError(
            f"from is {one.from_} and until {until}; expected from < until, at most the run's {steps} steps"
        )
    if dose is None:
        raise InputError(f"{one.kind} needs a dose: {kind.dose.phrase}")
    if not kind.dose.test(dose):
        raise InputError(f"dose is {short(dose)}; expected {kind.dose.phrase} for {one.kind}")
    if one.placebo and not kind.placebo:
        raise InputError(f"{one.kind} has no placebo")
    planned: Planned = {"kind": one.kind, "from": one.from_, "until": until, "dose": float(dose)}
    if kind.on:
        planned["on"] = _named(one, kind, model)
    elif one.on:
        raise InputError(f"{one.kind} is on no component")
    if "role" in kind.keys:
        planned |= _role(one, int(model["n_ctx"]))
    if one.kind == "fourier":
        planned |= _frequencies(one, modulus, stream)
    return _as_placebo(planned, model, stream) if one.placebo else planned


def acting(interventions: Iterable[Mapping[str, Any]], step: int) -> list[tuple[int, Mapping[str, Any]]]:
    """Those under which the optimiser's step from `step` to `step` + 1 is taken, with their places in the list. A checkpoint is under
    those of the step before it."""
    return [(index, one) for index, one in enumerate(interventions) if one["from"] <= step < one["until"]]


def components(model: Mapping[str, Any], sorts: Iterable[str]) -> list[str]:
    """The names of a model's components of some sorts."""
    found: list[str] = []
    for sort in sorts:
        if sort in ("all", "embed", "unembed"):
            found.append(sort)
            continue
        for layer in range(int(model["n_layers"])):
            if sort == "head":
                found += [f"L{layer}H{head}" for head in range(int(model["n_heads"]))]
            elif sort == "attn" or not model.get("attn_only"):
                found.append(f"L{layer}.{sort}")
    return found


def _named(one: TrainingIntervention, kind: Kind, model: Mapping[str, Any]) -> list[str]:
    """The components meant, each once; a layer's attention stands for its heads where only heads are."""
    if not one.on and kind.on[0] in ("all", "embed"):
        return [kind.on[0]]
    if not one.on:
        raise InputError(f"{one.kind} needs `on`: a component")
    have, out = components(model, kind.on), []
    for name in one.on:
        heads = [head for head in have if kind.on == ("head",) and head.startswith(name.removesuffix(".attn") + "H")]
        if name.endswith(".attn") and heads:
            out += heads
        elif name in have:
            out.append(name)
        else:
            raise unknown(f"component of this model for {one.kind}", name, have)
    return list(dict.fromkeys(out))


def _role(one: TrainingIntervention, n_ctx: int) -> Planned:
    if (one.role is None) == (one.offset is None):
        raise InputError(f"{one.kind} needs either a role or an offset")
    if one.kind == "forbid" and one.role == "uniform":
        raise InputError("forbid needs a place: role 'uniform' is none")
    if one.role is not None and one.role not in OFFSETS:
        return {"role": one.role}
    offset = OFFSETS[one.role] if one.role is not None else one.offset or 0
    if offset >= n_ctx:
        raise InputError(f"offset is {offset}; the model has {n_ctx} positions")
    return {"offset": offset}


def _frequencies(one: TrainingIntervention, modulus: int | None, stream: int) -> Planned:
    if modulus is None:
        raise InputError("fourier needs a task modulo p")
    if one.frequencies is None:
        raise InputError("fourier needs frequencies: a list of them, or {random: n}")
    there = range(1, modulus // 2 + 1)
    if isinstance(one.frequencies, Mapping):
        if (n := one.frequencies["random"]) >= len(there):
            raise InputError(
                f"frequencies.random is {n}; expected less than the {len(there)} that there are modulo {modulus}"
            )
        return {"frequencies": sorted(_drawn(there, n, stream)), "modulus": modulus}
    for frequency in one.frequencies:
        if frequency not in there:
            raise InputError(f"frequency {frequency} is none of 1 to {len(there)}, which there are modulo {modulus}")
    if len(set(one.frequencies)) == len(there):
        raise InputError(f"these are all frequencies modulo {modulus}: nothing lies beside them")
    return {"frequencies": sorted(set(one.frequencies)), "modulus": modulus}


def _drawn(choices: Iterable[Any], n: int, stream: int) -> list[Any]:
    """n of the choices, in random order: by the stream's own number of each."""
    return sorted(choices, key=lambda choice: derive(stream, choice))[:n]


def _as_placebo(planned: Planned, model: Mapping[str, Any], stream: int) -> Planned:
    """The same with what it is about exchanged for a draw; `placebo` holds what would have been there."""
    match planned["kind"]:
        case "pattern" | "forbid":
            was = {key: planned.pop(key) for key in ("role", "offset") if key in planned}
            n_ctx = int(model["n_ctx"])
            choices = [offset for offset in PLACEBO_OFFSETS if offset < n_ctx and offset != was.get("offset")]
            if not choices:
                raise InputError(f"no placebo: the model's {n_ctx} positions have no other offset")
            return {**planned, "offset": _drawn(choices, 1, stream)[0], "placebo": was}
        case "fourier":
            named, p = planned.pop("frequencies"), planned["modulus"]
            n = sum(1 if 2 * frequency == p else 2 for frequency in named)
            return {**planned, "directions": n, "stream": stream, "placebo": {"frequencies": named}}
        case "weight_norm":
            return {**planned, "stream": stream, "placebo": {"direction": "weights"}}
        case _:
            return {**planned, "on": _others(planned["on"], model, stream), "placebo": {"on": planned["on"]}}


def _others(named: Sequence[str], model: Mapping[str, Any], stream: int) -> list[str]:
    """As many other components, sort by sort."""
    out = []
    for sort in ("head", "attn", "mlp", "embed", "unembed"):
        have = components(model, (sort,))
        mine, others = [name for name in named if name in have], [name for name in have if name not in named]
        if len(mine) > len(others):
            raise InputError(f"no placebo: the model has no other component like {mine[0]}")
        out += _drawn(others, len(mine), stream)
    return out
