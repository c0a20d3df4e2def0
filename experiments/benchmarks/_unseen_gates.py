"""Gates that the test-bed does not have, each also behind a norm: what the redundancy verdict was not made on.

Behind `norm` the norms hide nothing by themselves (a constant direction holds most of the length), but every component has some
effect through them. In `norm_or` the norm is the gate: writers share one length.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from interp.testbed import PROGRAMS
from interp.testbed.parts import eye, look_at_position, lookup, ramp
from interp.testbed.program import Head, Layer, Mlp
from interp.testbed.programs.gates import LENGTH, N_CTX, N_TOKENS, SIZE, Gate, clip, gate_program, mover

LOW = ramp(SIZE, SIZE, lambda i, j: i == j and i < N_TOKENS // 2)


def _doubled(name: str, layer: int, head: int) -> Gate:
    """A program in which one head is there twice; its readers are as good with one (attention that is sharp saturates)."""
    program = PROGRAMS[name]()
    layers = list(program.layers)
    heads = layers[layer].heads
    layers[layer] = replace(layers[layer], heads=(*heads, heads[head]))
    return Gate(program=replace(program, layers=tuple(layers)), backups=(((layer, head), (layer, len(heads))),))


def _as_it_is(name: str) -> Gate:
    """A chain in which every part is needed."""
    return Gate(program=PROGRAMS[name]())


def _sum_of(scales: tuple[float, ...], negative: tuple[int, ...] = ()) -> Gate:
    """Heads that add up in the answer."""
    heads = tuple(mover(N_CTX, 1, "out", SIZE, scale=scale) for scale in scales)
    program = gate_program("sum_of", (Layer(heads=heads),), lambda t: t[1])
    return Gate(program=program, negative=tuple((0, at) for at in negative))


def _filled(share: float) -> Gate:
    """A later MLP puts in `share` of what is missing of the answer, from what a second head brought."""
    heads = (mover(N_CTX, 1, "out", SIZE), mover(N_CTX, 1, "spare", SIZE))
    fill = Mlp(reads={"spare": eye(SIZE), "out": -eye(SIZE)}, writes={"out": eye(SIZE, share)})
    program = gate_program("filled", (Layer(heads=heads), Layer(mlp=fill)), lambda t: t[1], spare=SIZE)
    return Gate(program=program, backups=(((0, 0), (0, 1)), ((0, 0), (1, None))))


def _routes_with_backups() -> Gate:
    """Half of the tokens by either of two heads, the other half by either of two others."""
    looks = (look_at_position(N_CTX, 1),)
    heads = tuple(
        Head(terms=looks, reads={"tok": own}, writes={"seen": eye(SIZE)})
        for own in (LOW, LOW, eye(SIZE) - LOW, eye(SIZE) - LOW)
    )
    layer = Layer(heads=heads, mlp=clip("seen", "out", SIZE))
    program = gate_program("routes_with_backups", (layer,), lambda t: t[1], seen=SIZE)
    return Gate(program=program, backups=(((0, 0), (0, 1)), ((0, 2), (0, 3))))


def _route_with_backup() -> Gate:
    """Half of the tokens by either of two heads, the other half by a third."""
    looks = (look_at_position(N_CTX, 1),)
    heads = tuple(
        Head(terms=looks, reads={"tok": own}, writes={"seen": eye(SIZE)}) for own in (LOW, LOW, eye(SIZE) - LOW)
    )
    layer = Layer(heads=heads, mlp=clip("seen", "out", SIZE))
    program = gate_program("route_with_backup", (layer,), lambda t: t[1], seen=SIZE)
    return Gate(program=program, backups=(((0, 0), (0, 1)),))


def _or_and() -> Gate:
    """The sum of two tokens, one of which comes by either of two heads."""
    heads = tuple(mover(N_CTX, at, name, SIZE) for at, name in ((1, "a"), (1, "a"), (2, "b")))
    program = gate_program(
        "or_and", (Layer(heads=heads),), lambda t: (t[1] + t[2]) % N_TOKENS, a=SIZE, b=SIZE, first=SIZE
    )
    table = lookup(
        program.sizes, ["first", "b"], "out", lambda x, y: (x + y) % N_TOKENS if max(x, y) < N_TOKENS else None
    )
    layers = (Layer(heads=heads, mlp=clip("a", "first", SIZE)), Layer(mlp=table))
    return Gate(program=replace(program, layers=layers), backups=(((0, 0), (0, 1)),))


def _or_and_negative() -> Gate:
    """Either of two heads; a later head takes .4 of what the answer then holds away again (copy suppression)."""
    own = look_at_position(N_CTX, LENGTH)
    against = Head(terms=(own,), reads={"out": eye(SIZE)}, writes={"out": eye(SIZE, -0.4)})
    first = Layer(heads=(mover(N_CTX, 1, "seen", SIZE),) * 2, mlp=clip("seen", "out", SIZE))
    program = gate_program("or_and_negative", (first, Layer(heads=(against,))), lambda t: t[1], seen=SIZE)
    return Gate(program=program, backups=(((0, 0), (0, 1)),), negative=((1, 0),))


def _negative_mlp() -> Gate:
    """A head that carries the answer and an MLP that takes a third of it away."""
    against = Mlp(reads={"out": eye(SIZE)}, writes={"out": eye(SIZE, -1 / 3)})
    program = gate_program("negative_mlp", (Layer(heads=(mover(N_CTX, 1, "out", SIZE),), mlp=against),), lambda t: t[1])
    return Gate(program=program, negative=((0, None),))


def _or_of(parts: tuple[str, ...]) -> Gate:
    """The current token by any of several heads that look at themselves and MLPs, in layers of their own."""
    own = Head(terms=(look_at_position(N_CTX, LENGTH),), reads={"tok": eye(SIZE)}, writes={"seen": eye(SIZE)})
    table = Mlp(reads={"tok": eye(SIZE)}, writes={"seen": eye(SIZE)})
    layers = [Layer(heads=(own,)) if part == "head" else Layer(mlp=table) for part in parts]
    program = gate_program("or_of", (*layers, Layer(mlp=clip("seen", "out", SIZE))), lambda t: t[LENGTH], seen=SIZE)
    return Gate(program=program, backups=(tuple((at, 0 if part == "head" else None) for at, part in enumerate(parts)),))


def _or_five() -> Gate:
    layer = Layer(heads=(mover(N_CTX, 2, "seen", SIZE),) * 5, mlp=clip("seen", "out", SIZE))
    program = gate_program("or_five", (layer,), lambda t: t[2], seen=SIZE)
    return Gate(program=program, backups=(tuple((0, at) for at in range(5)),))


def _or_read_twice() -> Gate:
    """Two tokens are always the same; one head reads one of them, one the other."""
    layer = Layer(heads=(mover(N_CTX, 1, "seen", SIZE), mover(N_CTX, 2, "seen", SIZE)), mlp=clip("seen", "out", SIZE))
    program = gate_program("or_read_twice", (layer,), lambda t: t[1], seen=SIZE)

    def draw(rng):  # type: ignore[no-untyped-def]
        tokens, position = program.draw(rng)
        return [*tokens[:2], tokens[1], *tokens[3:]], position

    return Gate(program=replace(program, draw=draw), backups=(((0, 0), (0, 1)),))


def _or_and_cancelling() -> Gate:
    """Either of two heads, and two that write the answer and its negative."""
    heads = tuple(
        mover(N_CTX, 1, name, SIZE, scale=scale)
        for name, scale in (("seen", 1.0), ("seen", 1.0), ("out", 0.6), ("out", -0.6))
    )
    program = gate_program(
        "or_and_cancelling", (Layer(heads=heads, mlp=clip("seen", "out", SIZE)),), lambda t: t[1], seen=SIZE
    )
    return Gate(program=program, backups=(((0, 0), (0, 1)),), cancelling=(((0, 2), (0, 3)),), negative=((0, 3),))


def _two_ors_in_a_row() -> Gate:
    """Either of two heads brings the token, and either of two later heads takes it on."""
    own = Head(terms=(look_at_position(N_CTX, LENGTH),), reads={"a": eye(SIZE)}, writes={"b": eye(SIZE)})
    first = Layer(heads=(mover(N_CTX, 1, "seen", SIZE),) * 2, mlp=clip("seen", "a", SIZE))
    second = Layer(heads=(own, own), mlp=clip("b", "out", SIZE))
    program = gate_program("two_ors_in_a_row", (first, second), lambda t: t[1], seen=SIZE, a=SIZE, b=SIZE)
    return Gate(program=program, backups=(((0, 0), (0, 1)), ((1, 0), (1, 1))))


def norm_or(scales: tuple[float, ...]) -> Gate:
    """Heads that write the answer far beyond everything else: behind a norm each of them is enough."""
    heads = tuple(mover(N_CTX, 1, "out", SIZE, scale=scale) for scale in scales)
    program = gate_program("norm_or", (Layer(heads=heads),), lambda t: t[1])
    return Gate(program=program, backups=(tuple((0, at) for at in range(len(scales))),))


UNSEEN: Mapping[str, Callable[[], Gate]] = {
    "or_previous": partial(_doubled, "induction", 0, 0),
    "or_fetch": partial(_doubled, "pointer", 0, 0),
    "or_where": partial(_doubled, "other_name", 0, 0),
    **{name: partial(_as_it_is, name) for name in ("induction", "pointer", "other_name", "caesar", "compare", "last")},
    "halves": partial(_sum_of, (0.5, 0.5)),
    "fifths": partial(_sum_of, (0.2,) * 5),
    "most_and_some": partial(_sum_of, (0.75, 0.25)),
    "negative_pair": partial(_sum_of, (2.0, -0.5, -0.5), (1, 2)),
    "filled_mostly": partial(_filled, 0.7),
    "filled_beyond": partial(_filled, 1.3),
    "routes_with_backups": _routes_with_backups,
    "route_with_backup": _route_with_backup,
    "or_and": _or_and,
    "or_and_negative": _or_and_negative,
    "negative_mlp": _negative_mlp,
    "or_mlps_three": partial(_or_of, ("mlp", "mlp", "mlp")),
    "or_head_mlp_head": partial(_or_of, ("head", "mlp", "head")),
    "or_five": _or_five,
    "or_read_twice": _or_read_twice,
    "or_and_cancelling": _or_and_cancelling,
    "two_ors_in_a_row": _two_ors_in_a_row,
}
NORM_ORS: Mapping[str, tuple[float, ...]] = {
    "norm_or_two": (20.0, 20.0),
    "norm_or_three": (20.0,) * 3,
    "norm_or_unequal": (30.0, 15.0),
}
