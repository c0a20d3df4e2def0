"""Gates: programs whose parts stand in for each other, need each other, cancel, or share the prompts between them.

What one patch at a time shows of them is known to mislead: either of two heads that do the same scores nothing. So each
program states which of its parts belong together, as (layer, head) of the program, None for the layer's MLP.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from interp.testbed.parts import GAIN, SHARP, copy_head, eye, join, look_at_position, lookup, ramp
from interp.testbed.program import Head, Layer, Mlp, Program, Term
from interp.testbed.programs.copying import base, names, random_tokens

if TYPE_CHECKING:
    from interp.testbed.built import Built

Part = tuple[int, int | None]
N_TOKENS, LENGTH = 6, 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gate:
    """A program and what is true of its parts. backups: groups that stand in for each other. cancelling: groups that cancel.
    negative: parts that work against the answer."""

    program: Program
    backups: tuple[tuple[Part, ...], ...] = field(default=())
    cancelling: tuple[tuple[Part, ...], ...] = field(default=())
    negative: tuple[Part, ...] = field(default=())


def named_parts(built: Built, parts: Sequence[Part]) -> tuple[str, ...]:
    """The program's parts by the names that they have in the model it was built into."""
    layers, slots = built.placement.layer_of, built.placement.slot_of
    found = (f"L{layers[at]}.mlp" if head is None else f"L{layers[at]}H{slots[at][head]}" for at, head in parts)
    return tuple(sorted(found))


def clip(read: str, write: str, size: int, *, at: float = 1.0) -> Mlp:
    """min(x, at)/at by value: one writer that says x ≥ `at` is as good as several."""
    rise, zero = eye(size, 1 / at), torch.zeros(1, size, dtype=torch.float64)
    into = {read: torch.cat([rise, rise], dim=1), "one": torch.cat([zero, zero - 1], dim=1)}
    return Mlp(reads=into, writes={write: torch.cat([eye(size), -eye(size)])})


def mover(n_ctx: int, position: int, write: str, size: int, *, scale: float = 1.0) -> Head:
    """A head that brings the token at one position."""
    return copy_head(look_at_position(n_ctx, position), read="tok", write=write, size=size, scale=scale)


def gate_program(name: str, layers: tuple[Layer, ...], solve: Callable[..., int], **variables: int) -> Program:
    """Four random tokens, the answer read after them. variables: those beside tokens, positions and the answer."""
    vocab, n_ctx = names(N_TOKENS), LENGTH + 1
    return Program(
        name=name,
        vocab=vocab,
        n_ctx=n_ctx,
        sizes=base(n_ctx, vocab, **variables),
        layers=layers,
        logits={"out": eye(len(vocab), GAIN)},
        draw=lambda rng: (random_tokens(rng, N_TOKENS, LENGTH), LENGTH),
        solve=solve,
    )


SIZE, N_CTX = len(names(N_TOKENS)), LENGTH + 1


def _any_of(name: str, scales: tuple[float, ...], at: float) -> Gate:
    movers = tuple(mover(N_CTX, 1, "seen", SIZE, scale=scale) for scale in scales)
    layer = Layer(heads=movers, mlp=clip("seen", "out", SIZE, at=at))
    program = gate_program(name, (layer,), lambda tokens: tokens[1], seen=SIZE)
    return Gate(program=program, backups=(tuple((0, head) for head in range(len(scales))),))


def or_two() -> Gate:
    """Two heads that do the same: one is enough."""
    return _any_of("or_two", (1.0, 1.0), 1.0)


def or_three() -> Gate:
    """Three heads that do the same: any one is enough, so no pair shows it."""
    return _any_of("or_three", (1.0, 1.0, 1.0), 1.0)


def or_unequal() -> Gate:
    """A strong head and a weak one, each more than enough."""
    return _any_of("or_unequal", (1.0, 0.6), 0.4)


def or_four() -> Gate:
    """Four heads that do the same."""
    return _any_of("or_four", (1.0,) * 4, 1.0)


def or_three_unequal() -> Gate:
    """Three heads, the weakest half as strong as the first, each more than enough."""
    return _any_of("or_three_unequal", (1.0, 0.8, 0.5), 0.4)


def or_part() -> Gate:
    """Two heads that are more than enough together, and not quite enough alone."""
    return _any_of("or_part", (0.5, 0.5), 0.7)


def or_layers() -> Gate:
    """Two heads in different layers."""
    head = mover(N_CTX, 1, "seen", SIZE)
    layers = (Layer(heads=(head,)), Layer(heads=(head,), mlp=clip("seen", "out", SIZE)))
    return Gate(program=gate_program("or_layers", layers, lambda t: t[1], seen=SIZE), backups=(((0, 0), (1, 0)),))


def or_mlps() -> Gate:
    """The current token, by either of two MLPs."""
    table = Mlp(reads={"tok": eye(SIZE)}, writes={"seen": eye(SIZE)})
    layers = (Layer(mlp=table), Layer(mlp=table), Layer(mlp=clip("seen", "out", SIZE)))
    return Gate(
        program=gate_program("or_mlps", layers, lambda t: t[LENGTH], seen=SIZE), backups=(((0, None), (1, None)),)
    )


def two_of_three() -> Gate:
    """Three heads of which two are needed: every pair of them stands in for each other."""
    movers = tuple(mover(N_CTX, 1, "seen", SIZE) for _ in range(3))
    rise, zero = eye(SIZE), torch.zeros(1, SIZE, dtype=torch.float64)
    into = {"seen": torch.cat([rise, rise], dim=1), "one": torch.cat([zero - 1, zero - 2], dim=1)}
    count = Mlp(reads=into, writes={"out": torch.cat([rise, -rise])})
    program = gate_program("two_of_three", (Layer(heads=movers, mlp=count),), lambda t: t[1], seen=SIZE)
    return Gate(program=program, backups=(((0, 0), (0, 1)), ((0, 0), (0, 2)), ((0, 1), (0, 2))))


def late_backup() -> Gate:
    """A head writes the answer; a later MLP fills in what is missing of it from what a second head brought."""
    movers = (mover(N_CTX, 1, "out", SIZE), mover(N_CTX, 1, "spare", SIZE))
    fill = Mlp(reads={"spare": eye(SIZE), "out": -eye(SIZE)}, writes={"out": eye(SIZE)})
    program = gate_program("late_backup", (Layer(heads=movers), Layer(mlp=fill)), lambda t: t[1], spare=SIZE)
    return Gate(program=program, backups=(((0, 0), (0, 1)), ((0, 0), (1, None))))


def sleeping_backup() -> Gate:
    """A later head that does the same as an early one, and looks away while anything is written already."""
    away = Term(query="out", key="pos", scores=2 * SHARP * ramp(SIZE, N_CTX, lambda _, key: key == 0))
    tokens_only = ramp(SIZE, SIZE, lambda i, j: i == j and i < N_TOKENS)
    spare = Head(terms=(look_at_position(N_CTX, 1), away), reads={"tok": tokens_only}, writes={"out": eye(SIZE)})
    layers = (Layer(heads=(mover(N_CTX, 1, "out", SIZE),)), Layer(heads=(spare,)))
    return Gate(program=gate_program("sleeping_backup", layers, lambda t: t[1]), backups=(((0, 0), (1, 0)),))


def two_ways() -> Gate:
    """Two ways of two components each, either of which is enough: every part of one stands in for every part of the other."""
    movers = (mover(N_CTX, 1, "a", SIZE), mover(N_CTX, 1, "b", SIZE))
    own = Head(terms=(look_at_position(N_CTX, LENGTH),), reads={"b": eye(SIZE)}, writes={"seen": eye(SIZE)})
    layers = (
        Layer(heads=movers, mlp=clip("a", "seen", SIZE)),
        Layer(heads=(own,), mlp=clip("seen", "out", SIZE)),
    )
    program = gate_program("two_ways", layers, lambda t: t[1], a=SIZE, b=SIZE, seen=SIZE)
    first, second = ((0, 0), (0, None)), ((0, 1), (1, 0))
    return Gate(program=program, backups=tuple((one, other) for one in first for other in second))


def or_head_and_mlp() -> Gate:
    """The current token, by a head that looks at itself and by an MLP: either is enough."""
    own = Head(terms=(look_at_position(N_CTX, LENGTH),), reads={"tok": eye(SIZE)}, writes={"seen": eye(SIZE)})
    table = Mlp(reads={"tok": eye(SIZE)}, writes={"seen": eye(SIZE)})
    layers = (Layer(heads=(own,), mlp=table), Layer(mlp=clip("seen", "out", SIZE)))
    return Gate(
        program=gate_program("or_head_and_mlp", layers, lambda t: t[LENGTH], seen=SIZE), backups=(((0, 0), (0, None)),)
    )


def two_gates() -> Gate:
    """The sum of two tokens; each is brought by two heads of which one is enough."""
    movers = tuple(mover(N_CTX, at, name, SIZE) for at, name in ((1, "a"), (1, "a"), (2, "b"), (2, "b")))
    sizes = base(N_CTX, names(N_TOKENS), a=SIZE, b=SIZE, first=SIZE, second=SIZE)
    clips = join(clip("a", "first", SIZE), clip("b", "second", SIZE), sizes=sizes)
    layers = (Layer(heads=movers, mlp=clips), Layer(mlp=lookup(sizes, ["first", "second"], "out", _sum)))
    program = gate_program(
        "two_gates", layers, lambda t: _sum(t[1], t[2]) or 0, a=SIZE, b=SIZE, first=SIZE, second=SIZE
    )
    return Gate(program=program, backups=(((0, 0), (0, 1)), ((0, 2), (0, 3))))


def and_two() -> Gate:
    """The sum of two tokens, each brought by one head: both are needed, neither stands in for the other."""
    movers = (mover(N_CTX, 1, "a", SIZE), mover(N_CTX, 2, "b", SIZE))
    sizes = base(N_CTX, names(N_TOKENS), a=SIZE, b=SIZE)
    layer = Layer(heads=movers, mlp=lookup(sizes, ["a", "b"], "out", _sum))
    return Gate(program=gate_program("and_two", (layer,), lambda t: _sum(t[1], t[2]) or 0, a=SIZE, b=SIZE))


def cancelling_pair() -> Gate:
    """Two heads write the answer and its negative; a third one, twice as strong, carries it."""
    movers = tuple(mover(N_CTX, 1, "out", SIZE, scale=scale) for scale in (1.0, -1.0, 2.0))
    program = gate_program("cancelling_pair", (Layer(heads=movers),), lambda t: t[1])
    return Gate(program=program, cancelling=(((0, 0), (0, 1)),), negative=((0, 1),))


def cancelling_triple() -> Gate:
    """One head against two, each of which takes half of it away; a fourth carries the answer."""
    movers = tuple(mover(N_CTX, 1, "out", SIZE, scale=scale) for scale in (1.0, -0.5, -0.5, 1.5))
    program = gate_program("cancelling_triple", (Layer(heads=movers),), lambda t: t[1])
    return Gate(program=program, cancelling=(((0, 0), (0, 1), (0, 2)),), negative=((0, 1), (0, 2)))


def sum_of_three() -> Gate:
    """Three heads, each of which writes a third of the answer: nothing stands in for anything."""
    movers = tuple(mover(N_CTX, 1, "out", SIZE, scale=1 / 3) for _ in range(3))
    return Gate(program=gate_program("sum_of_three", (Layer(heads=movers),), lambda t: t[1]))


def negative_head() -> Gate:
    """A head that carries the answer and one that takes a third of it away again."""
    movers = tuple(mover(N_CTX, 1, "out", SIZE, scale=scale) for scale in (1.5, -0.5))
    return Gate(program=gate_program("negative_head", (Layer(heads=movers),), lambda t: t[1]), negative=((0, 1),))


def two_routes() -> Gate:
    """Half of the tokens are carried by one head, half by another: nothing stands in for anything."""
    low = ramp(SIZE, SIZE, lambda i, j: i == j and i < N_TOKENS // 2)
    movers = tuple(
        Head(terms=(look_at_position(N_CTX, 1),), reads={"tok": own}, writes={"out": eye(SIZE)})
        for own in (low, eye(SIZE) - low)
    )
    return Gate(program=gate_program("two_routes", (Layer(heads=movers),), lambda t: t[1]))


def _sum(a: int, b: int) -> int | None:
    return (a + b) % N_TOKENS if a < N_TOKENS and b < N_TOKENS else None


GATES: Mapping[str, Callable[[], Gate]] = {
    function.__name__: function
    for function in (
        *(or_two, or_three, or_four, or_unequal, or_three_unequal, or_part, or_layers, or_mlps, or_head_and_mlp),
        *(two_gates, two_of_three, two_ways, late_backup, sleeping_backup),
        *(and_two, cancelling_pair, cancelling_triple, negative_head, two_routes, sum_of_three),
    )
}
