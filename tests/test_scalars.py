"""Scalar forms: the same numbers as the function itself under vmap, and nothing left that moves memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.extend import core
from jax.flatten_util import ravel_pytree
from jax.tree_util import tree_leaves, tree_map

from sgdsde.scalars import boxes_like, scalar_form, scalars_of
from sgdsde.scalars.arithmetic import ELEMENTWISE, SUMS
from sgdsde.scalars.movement import LOOKUPS as LOOKUPS_WITH_A_RULE
from sgdsde.scalars.movement import MOVES

NUM_CHAINS = 4
MOVING = {"transpose", "concatenate", "pad", "reshape", "gather", "dynamic_slice", "dot_general", "reduce_sum", "rev"}
RANDOM = np.random.default_rng(7)


def normals(*shape, dtype=np.float64):
    return RANDOM.normal(size=shape).astype(dtype)


def one_of(chains):
    """The shapes of one chain's part of a pytree with a leading chain axis."""
    return tree_map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), chains)


def vectors_of(chains):
    """Its numbers as vectors over chains, in the order of `ravel_pytree`."""
    return tuple(leaf[(slice(None), *place)] for leaf in tree_leaves(chains) for place in np.ndindex(leaf.shape[1:]))


def in_scalars(function, shared, *own, max_cost=50_000):
    """The vmapped scalar form as a function of (shared, *vectors)."""
    like = [one_of(chains) for chains in own]
    form = scalar_form(function, shared, *like, max_cost=max_cost)
    assert form is not None

    def of_one_chain(shared, *scalars):
        return scalars_of(form(shared, *map(boxes_like, like, scalars)))

    return jax.vmap(of_one_chain, in_axes=(None,) + (0,) * len(own))


def both(function, shared, *own):
    """(scalar form, plain function), each as vectors over chains, compiled together."""

    def compute(shared, *own):
        scalars = in_scalars(function, shared, *own)(shared, *map(vectors_of, own))
        return scalars, vectors_of(jax.vmap(function, in_axes=(None,) + (0,) * len(own))(shared, *own))

    return jax.jit(compute)(shared, *own)


def assert_equal(function, shared, *own, tolerance=1e-12):
    scalars, plain = both(function, shared, *own)
    assert len(scalars) == len(plain)
    for one, other in zip(scalars, plain, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from equations(inner)


def gradient_of(potential):
    return lambda shared, x: jax.grad(lambda x: potential(shared, x))(x)


def mueller_brown(_, x):
    heights, centres = (-200.0, -100.0, -170.0, 15.0), ((1.0, 0.0), (0.0, 0.5), (-0.5, 1.5), (-1.0, 1.0))
    forms = ((-1.0, 0.0, -10.0), (-1.0, 0.0, -10.0), (-6.5, 11.0, -6.5), (0.7, 0.6, 0.7))
    wells = (
        height * jnp.exp(a * (x[0] - u) ** 2 + b * (x[0] - u) * (x[1] - v) + c * (x[1] - v) ** 2)
        for height, (a, b, c), (u, v) in zip(heights, forms, centres, strict=True)
    )
    return 0.005 * sum(wells)


def double_well(barrier, x):
    return barrier * (x[0] ** 2 - 1) ** 2 + jnp.sum(x[1:] ** 2)


def rosenbrock(_, x):
    return jnp.sum((x[1:] - x[:-1] ** 2) ** 2) + jnp.sum((1 - x) ** 2)


def dense(hessian, x):
    return 0.5 * x @ (hessian @ x) + 0.1 * jnp.sum(x**4)


def in_a_dict(_, params):
    return jnp.sum((params["left"] @ params["right"]) ** 2) * params["scale"]


def rearranged(_, x):
    return jnp.sum((x[:4].reshape(2, 2).T @ jnp.flip(x)[:4].reshape(2, 2)) ** 2) + jnp.sum(x[::2] * jnp.roll(x, 1)[::2])


def picked(_, x):
    return jnp.sum(x[jnp.array([2, 0])] ** 2 * x[jnp.array([4, 4])]) + x.at[1:3].set(0.0).at[0].add(x[4]).sum()


def rectified(_, x):
    return jnp.where(x > 0, x, x**2).sum() * jnp.max(x) + jax.nn.relu(x) @ jax.nn.softmax(x) + jnp.prod(x)


def norms(_, x):
    return jax.scipy.special.logsumexp(x) + jnp.linalg.norm(x) + jnp.sum(jnp.cumsum(x) ** 2) + jnp.cumprod(x)[3]


LANDSCAPES = {
    "double well": (gradient_of(double_well), 2.0, normals(NUM_CHAINS, 5)),
    "double well in one dimension": (gradient_of(double_well), jnp.asarray(2.0), normals(NUM_CHAINS, 1)),
    "Mueller-Brown": (gradient_of(mueller_brown), (), normals(NUM_CHAINS, 2)),
    "Rosenbrock": (gradient_of(rosenbrock), (), normals(NUM_CHAINS, 5)),
    "dense": (gradient_of(dense), jnp.asarray(normals(5, 5)), normals(NUM_CHAINS, 5)),
    "dictionary": (
        gradient_of(in_a_dict),
        (),
        {"left": normals(NUM_CHAINS, 2, 3), "right": normals(NUM_CHAINS, 3, 2), "scale": normals(NUM_CHAINS)},
    ),
    "reshapes and transposes": (gradient_of(rearranged), (), normals(NUM_CHAINS, 5)),
    "known indices": (gradient_of(picked), (), normals(NUM_CHAINS, 5)),
    "kinks": (gradient_of(rectified), (), normals(NUM_CHAINS, 5)),
    "norms and running sums": (gradient_of(norms), (), normals(NUM_CHAINS, 5)),
    "Hessian": (lambda s, x: jax.hessian(lambda x: rosenbrock(s, x))(x), (), normals(NUM_CHAINS, 3)),
}


@pytest.mark.parametrize("name", LANDSCAPES)
def test_gradients_are_the_plain_ones(name):
    assert_equal(*LANDSCAPES[name])


@pytest.mark.parametrize("name", LANDSCAPES)
def test_nothing_moves_memory(name):
    """Under vmap all that a chain owns is vectors over chains, made by arithmetic alone; a shared matrix stays one."""
    function, shared, own = LANDSCAPES[name]
    program = jax.make_jaxpr(in_scalars(function, shared, own))(shared, vectors_of(own)).jaxpr
    chain = set(program.invars[len(tree_leaves(shared)) :])
    for equation in program.eqns:
        if not chain.isdisjoint(atom for atom in equation.invars if isinstance(atom, core.Var)):
            assert equation.primitive.name not in MOVING
            assert {var.aval.shape for var in equation.outvars} == {(NUM_CHAINS,)}
            chain.update(equation.outvars)
        else:
            assert all(var.aval.ndim < 2 or NUM_CHAINS not in var.aval.shape for var in equation.outvars)


def test_single_precision_stays():
    hessian, x = jnp.asarray(normals(5, 5, dtype=np.float32)), normals(NUM_CHAINS, 5, dtype=np.float32)
    assert_equal(gradient_of(dense), hessian, x, tolerance=1e-5)


def cubic_root(target, x):
    def newton(carry):
        y, count = carry
        return y - (y**3 + y - x) / (3 * y**2 + 1), count + 1

    def unfinished(carry):
        return (carry[1] < 50) & jnp.any(jnp.abs(carry[0] ** 3 + carry[0] - x) > target)

    return lax.while_loop(unfinished, newton, (x, 0))


def scanned(rows, x):
    return lax.scan(lambda c, row: (c * row[0] + row[1:].sum(), (c, row)), x, rows, reverse=True)


LOOPS = {
    "while": (cubic_root, 1e-6),
    "short scan": (scanned, jnp.asarray(normals(5, 2))),
    "long scan": (lambda rows, x: scanned(rows, x)[0], jnp.asarray(normals(40, 2))),
    "gradient of a scan": (gradient_of(lambda _, x: lax.scan(lambda c, y: (c * y + 1, c), x[0], x)[0]), ()),
    "counted loop": (gradient_of(lambda _, x: lax.fori_loop(0, 5, lambda k, c: c + x[k] * c, x[0])), ()),
    "own branch": (lambda _, x: lax.cond(x[0] > 0, lambda x: x * 2, lambda x: x[::-1], x), ()),
    "shared branch": (lambda k, x: lax.switch(k, [lambda x: x * 2, lambda x: x[::-1]], x), jnp.asarray(1)),
    "sort": (gradient_of(lambda _, x: jnp.sort(x)[1] * x[0]), ()),
    "solve": (lambda matrix, x: jnp.linalg.solve(matrix, x) * x, jnp.asarray(normals(5, 5))),
    "matrix of its own": (lambda matrix, x: jnp.linalg.det(jnp.outer(x, x) + matrix), jnp.asarray(normals(5, 5))),
    "remat": (gradient_of(jax.checkpoint(lambda _, x: jnp.sum(jnp.sin(x) ** 2))), ()),
    "no numbers": (lambda _, x: (x[5:], jnp.sum(x[5:]), jnp.arange(3)), ()),
    "integers": (lambda _, x: ((x > 0).sum(), (x > 0).all(), jnp.any(x > 0), jnp.round(x).astype(jnp.int32)), ()),
}


@pytest.mark.parametrize("name", LOOPS)
def test_loops_branches_and_primitives_without_a_rule(name):
    assert_equal(*LOOPS[name], normals(NUM_CHAINS, 5))


def minibatch_gradient(examples, x, indices):
    batch = tree_map(lambda leaf: leaf[indices], examples)

    def example_loss(x, example):
        return (example[0] @ x - example[1]) ** 2

    return jax.grad(lambda x: jnp.mean(jax.vmap(example_loss, in_axes=(None, 0))(x, batch)))(x)


EXAMPLES = jnp.asarray(normals(64, 5)), jnp.asarray(normals(64))
LOOKUPS = {
    "minibatch": (minibatch_gradient, EXAMPLES),
    "take": (lambda examples, x, i: jnp.take(examples[0], i, axis=0) @ x, EXAMPLES),
    "table of two axes": (lambda table, x, i: table[0][i[0], i[1]] * x + table[0][i[2], :], EXAMPLES),
    "window": (lambda table, x, i: lax.dynamic_slice(table[0], (i[0], jnp.int32(0)), (3, 5)) @ x, EXAMPLES),
    "own coordinate": (lambda _, x, i: jax.grad(lambda x: x[i[0] % 5] ** 2 * x[i[1]])(x), ()),
    "own matrix": (lambda _, x, i: jax.grad(lambda x: jnp.sum(x.reshape(1, 5)[0, i] ** 2))(x), ()),
    "set and add": (lambda _, x, i: x.at[i[0]].set(1.0).at[i[1:3]].add(x[:2]).at[i[3]].mul(2.0), ()),
    "moved window": (lambda _, x, i: lax.dynamic_update_slice(x, x[:2] + 1, (i[0] - 2,)), ()),
}


@pytest.mark.parametrize("name", LOOKUPS)
def test_places_of_a_chains_own(name):
    """Negative ones and ones beyond the end too: they count from the end, are clipped, dropped or give NaN alike."""
    function, shared = LOOKUPS[name]
    indices = RANDOM.integers(-3, [[5], [64], [200]] * 4, size=(12, 4)).astype(np.int32)
    assert_equal(function, shared, normals(12, 5), indices)


def test_a_small_index_type_finds_all_of_a_table():
    table, indices = jnp.asarray(normals(200, 3)), RANDOM.integers(0, 200, size=(NUM_CHAINS, 2)).astype(np.uint8)
    assert_equal(lambda table, i: table[i, 2], table, indices)


def test_data_is_looked_up_where_it_lies():
    """No copy of the examples for each chain, and one number read for each coordinate of each example of the batch."""
    own = normals(NUM_CHAINS, 5), np.zeros((NUM_CHAINS, 4), np.int32)
    program = jax.make_jaxpr(in_scalars(minibatch_gradient, EXAMPLES, *own))(EXAMPLES, *map(vectors_of, own))
    read = [equation for equation in equations(program.jaxpr) if equation.primitive.name == "gather"]
    assert len(read) == 4 * (5 + 1)
    assert max(var.aval.size for equation in equations(program.jaxpr) for var in equation.outvars) == EXAMPLES[0].size


def test_random_programs():
    """Ten programs of six random operations each; smooth ones, since XLA may round the two sides of a kink apart."""
    unary = [jnp.sin, jnp.tanh, jnp.flip, jnp.cumsum, jnp.ravel, jnp.atleast_2d, jnp.transpose, jnp.square, jnp.sum]
    unary += [lambda a: a.reshape(-1)[::2], lambda a: jnp.pad(a, 1), lambda a: jnp.roll(a, 1), lambda a: a - a.mean()]
    unary += [lambda a: jnp.stack([a, a]), lambda a: jax.nn.softmax(a, axis=None), lambda a: jnp.cumprod(a.ravel())]
    binary = [
        lambda a, b: jnp.concatenate([a.ravel(), b.ravel()]),
        lambda a, b: jnp.outer(a, b)[:3, :2],
        lambda a, b: a * b.mean(),
        lambda a, b: jnp.resize(a, 2) @ jnp.resize(b, (2, 3)),
        lambda a, b: jnp.tensordot(jnp.resize(a, (2, 3, 2)), jnp.resize(b, (2, 2)), 1),
        lambda a, b: jnp.einsum("ij,ij->i", jnp.resize(a, (2, 3)), jnp.resize(b, (2, 3))),
    ]

    def program(seed, x):
        choose, pool = np.random.default_rng(seed), [x, x[:2] ** 2]
        for _ in range(6):
            if choose.random() < 0.6:
                value = unary[choose.integers(len(unary))](pool[choose.integers(len(pool))])
            else:
                value = binary[choose.integers(len(binary))](*(pool[k] for k in choose.integers(len(pool), size=2)))
            pool.append(value.reshape(-1)[:12].reshape(value.shape if value.size <= 12 else (-1,)))
        return jnp.sum(jnp.concatenate([value.ravel() for value in pool]) ** 2)

    def gradients(_, x):
        return [jax.grad(lambda x, seed=seed: program(seed, x))(x) for seed in range(10)]

    scalars, plain = both(gradients, (), normals(NUM_CHAINS, 3))
    np.testing.assert_allclose(jnp.stack(scalars), jnp.stack(plain), rtol=1e-9, atol=1e-9)


FRACTIONS = {
    "any": normals(NUM_CHAINS, 2),
    "inside": np.tanh(normals(NUM_CHAINS, 2)),
    "positive": np.abs(normals(NUM_CHAINS, 2)) + 0.1,
    "above": np.abs(normals(NUM_CHAINS, 2)) + 1,
}
WHOLE = RANDOM.integers(-4, 5, size=(NUM_CHAINS, 5)).astype(float)
"""of which sums and products are exact in any order"""


def of_fractions(numbers):
    """Elementwise primitives that take real numbers, each of numbers that are given: a compiler may round a product
    and a sum at once."""
    x, inside, above, positive = (numbers[name] for name in ("any", "inside", "above", "positive"))
    unary = [lax.abs, lax.asinh, lax.atan, lax.cbrt, lax.ceil, lax.cos, lax.cosh, lax.erf, lax.erfc, lax.exp, lax.exp2]
    unary += [lax.expm1, lax.floor, lax.is_finite, lax.logistic, lax.neg, lax.round, lax.sign, lax.sin, lax.sinh]
    unary += [lax.square, lax.tan, lax.tanh, lambda y: lax.integer_pow(y, 3), lax.stop_gradient, jnp.copy]
    unary += [lambda y: lax.reduce_precision(y, 8, 7), lambda y: lax.convert_element_type(y, np.int32)]
    unary += [lambda y: lax.bitcast_convert_type(y, np.int64), lambda y: checkpoint_name(y, "kept")]
    found = [function(x) for function in unary]
    found += [function(inside) for function in (lax.acos, lax.asin, lax.atanh, lax.erf_inv, lax.log1p)]
    found += [lax.log(positive), lax.rsqrt(positive), lax.sqrt(positive), lax.acosh(above), lax.clamp(-0.1, x, 0.2)]
    binary = [lax.add, lax.sub, lax.mul, lax.div, lax.rem, lax.max, lax.min, lax.atan2, lax.nextafter]
    binary += [lax.eq, lax.ne, lax.lt, lax.le, lax.gt, lax.ge]
    found += [function(x, jnp.flip(x)) for function in binary]
    whole = lax.complex(x, jnp.flip(x))
    found += [lax.pow(positive, x), jnp.where(x > 0, x, 2 * x), lax.real(whole), lax.imag(lax.conj(whole))]
    return found


def of_special_functions(numbers):
    """Elementwise primitives whose programs are long: of one number."""
    x, inside, above, positive = (numbers[name][:1] for name in ("any", "inside", "above", "positive"))
    found = [lax.bessel_i0e(x), lax.bessel_i1e(x), lax.digamma(positive), lax.lgamma(positive)]
    found += [lax.zeta(above, positive), lax.polygamma(jnp.ones_like(x), positive), lax.igamma(above, positive)]
    found += [lax.igammac(above, positive), lax.igamma_grad_a(above, positive)]
    return [*found, lax.betainc(above, positive, lax.abs(inside))]


def of_integers(x):
    """Bits, shifts and truth values."""
    k = x.astype(np.int32)
    pairs = [lax.bitwise_and, lax.bitwise_or, lax.bitwise_xor, lax.mulhi]
    found = [function(k, jnp.flip(k)) for function in pairs]
    shifts = [lax.shift_left, lax.shift_right_logical, lax.shift_right_arithmetic]
    found += [shift(k, jnp.full_like(k, 3)) for shift in shifts]
    found += [lax.bitwise_not(k), lax.bitwise_not(k > 0), lax.population_count(k), lax.clz(k)]
    return [*found, (k > 0).all(), (k > 0).any(), k.astype(np.uint8), (k > 0).astype(float)]


def moved(x):
    """Every primitive that moves elements."""
    rows = jnp.stack([x, 2 * x])
    found = [
        jnp.concatenate([x, rows[1]]),
        x[None, :],
        jnp.pad(x, (1, 2), constant_values=3.0),
        jnp.flip(x),
        rows[:, ::2],
    ]
    found += [rows.reshape(5, 2), rows.T, jnp.split(x, [2, 3]), rows[:1].squeeze(0), jnp.tile(x, 2), jnp.unstack(rows)]
    return [
        *found,
        lax.pad(x, 0.0, [(-1, 2, 1)]),
        jnp.broadcast_to(x[:, None], (5, 3)),
        lax.dynamic_slice(x, (3,), (4,)),
    ]


def summed(x):
    """Every reduction, running sum and product."""
    found = [function(x) for function in (jnp.sum, jnp.prod, jnp.max, jnp.min, jnp.cumsum, jnp.cumprod, lax.cummax)]
    table = jnp.outer(x, x)
    found += [lax.cummin(x, reverse=True), x @ x, table @ x, table.sum(axis=0), jnp.einsum("ij,ij->i", table, table)]
    return [*found, lax.cumsum(table, axis=1, reverse=True), jax.grad(lambda y: jnp.sum(y * (y + 1) * y))(x)]


def changed_in_place(x):
    """x.at at places that are known, of the chain's own (beyond the end too), and several times the same."""
    own, twice, function = x[0].astype(np.int32), jnp.array([3, 0, 3]), lambda y: 2 * y + 1
    found = [x.at[where].set(7.0) for where in (1, own, slice(1, 3))]
    found += [x.at[where].apply(function) for where in (2, own, twice, slice(1, 3), jnp.stack([own, own + 1]))]
    found += [x.at[own].add(3.0), x.at[twice].multiply(3.0), x.at[own].subtract(3.0), x.at[own].max(1.0), x[own]]
    found += [x[twice], x.at[own].apply(jnp.square).at[0].apply(jnp.negative)]
    return [*found, lax.dynamic_update_slice(x, x[:2] + 1, (own,))]


EVERYTHING = {
    "fractions": (of_fractions, FRACTIONS),
    "special functions": (of_special_functions, FRACTIONS),
    "integers": (of_integers, WHOLE),
    "moves": (moved, WHOLE),
    "sums": (summed, WHOLE),
    "places": (changed_in_place, WHOLE),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (own is FRACTIONS)) for name, (_, own) in EVERYTHING.items()]
)
def test_bit_for_bit(name):
    """What a scalar form computes is what the arrays hold, to the last bit; of fractions the compiler's own functions
    may differ between the body and the end of a vector (tanh), and where it contracts products and sums: a few ulp."""
    function, own = EVERYTHING[name]
    scalars, plain = both(lambda _, own: function(own), (), own)
    assert len(scalars) == len(plain)
    for one, other in zip(scalars, plain, strict=True):
        assert one.dtype == other.dtype
        if own is FRACTIONS and one.dtype == float:
            np.testing.assert_array_max_ulp(one, other, maxulp=4)
        else:
            np.testing.assert_array_equal(one, other)


def test_every_primitive_with_a_rule_is_compared():
    compared = set()
    for function, own in EVERYTHING.values():
        program = jax.make_jaxpr(function)(tree_map(lambda leaf: leaf[0], own))
        compared |= {equation.primitive.name for equation in equations(program.jaxpr)}
    of_other_versions = {"copy_p", "expand_dims", "log2", "one_minus_square"}
    assert {*ELEMENTWISE, *MOVES, *SUMS, *LOOKUPS_WITH_A_RULE, "scatter"} - compared <= of_other_versions


def test_cost_and_refusal():
    x, examples = jax.ShapeDtypeStruct((5,), float), jax.ShapeDtypeStruct((64, 5), float)
    product = scalar_form(lambda rows, x: rows @ x, examples, x, max_cost=10_000)
    assert product.cost == 2 * 64 * 5
    assert product.array_primitives == frozenset()
    assert scalar_form(lambda rows, x: rows @ x, examples, x, max_cost=639) is None
    unused = scalar_form(lambda rows, x: (rows @ x, x[0] + 1)[1], examples, x, max_cost=1)
    assert unused.cost == 1
    assert scalar_form(lambda rows, x: (rows @ rows.T)[0, 0] * x, examples, x, max_cost=5).cost == 5
    assert scalar_form(lambda _, x: jnp.sort(x), (), x, max_cost=100).array_primitives == {"sort"}
    layers = jax.ShapeDtypeStruct((5, 30), float), jax.ShapeDtypeStruct((30, 1), float)
    network = jax.grad(lambda rows, layers: jnp.mean((jnp.tanh(rows @ layers[0]) @ layers[1]) ** 2), argnums=1)
    assert scalar_form(network, examples, layers, max_cost=10_000) is None


def test_known_numbers_are_folded_but_never_a_nan():
    def function(_, x):
        padded = jnp.pad(x, (0, 2))
        return (padded + jnp.flip(padded))[2] * 1.0, jnp.sum(x * 0.0)

    program = jax.make_jaxpr(in_scalars(function, (), np.ones((NUM_CHAINS, 3))))((), (np.ones(NUM_CHAINS),) * 3)
    kinds = [equation.primitive.name for equation in equations(program.jaxpr)]
    assert sorted(kinds) == ["add", "add", "add", "mul", "mul", "mul"]
    (_, total), _ = both(function, (), np.array([[1.0, np.nan, 2.0]] * NUM_CHAINS))
    assert np.isnan(total).all()


def waves_and_angles(_, x):
    waves, angles = jnp.sin(3 * x) * jnp.cos(x[::-1]), jnp.arctan(x) * jnp.arctan2(x, 1 - x)
    return waves + angles + jnp.tanh(x) * jnp.exp(x) + jnp.log1p(x**2)


SLOW = {"sin", "cos", "atan", "atan2", "log1p"}


def kinds_of(function, shared, *own):
    """Names of the primitives in its scalar form."""
    program = jax.make_jaxpr(in_scalars(function, shared, *own))(shared, *map(vectors_of, own))
    return {equation.primitive.name for equation in equations(program.jaxpr)}


def test_what_is_slow_on_the_cpu_is_a_polynomial_in_single_precision(monkeypatch):
    function = lambda shared, x: (waves_and_angles(shared, x), jax.jacfwd(lambda x: waves_and_angles(shared, x))(x))
    single, double = (normals(NUM_CHAINS, 3, dtype=dtype) for dtype in (np.float32, np.float64))
    precise = lambda _, x: lax.cos(lax.sin(x, accuracy=lax.AccuracyMode.HIGHEST))
    assert kinds_of(function, (), single).isdisjoint(SLOW)
    assert kinds_of(function, (), double) >= {*SLOW, "tanh", "exp"}
    assert kinds_of(precise, (), single) & SLOW == {"sin"}
    assert_equal(function, (), single, tolerance=2e-6)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert kinds_of(function, (), single) >= SLOW


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_known_powers_in_quarters_are_roots_and_products(dtype):
    """Of zero, infinity, a negative number and NaN too; and their derivatives, whose exponents are less by one."""
    exponents = [0.25, 0.5, 1.0, 1.75, 3.0, 7.5, -0.5, -1.25]

    def powers(_, x):
        value = lambda y: jnp.stack([lax.pow(y, jnp.asarray(exponent, dtype)) for exponent in exponents])
        return value(x[0]), jax.jacfwd(value)(x[0])

    x = np.array([[1e-3], [0.7], [1.0], [30.0], [0.0], [np.inf], [-2.0], [np.nan]], dtype)
    assert_equal(powers, (), x, tolerance=20 * np.finfo(dtype).eps)
    assert "pow" not in kinds_of(powers, (), x)
    assert "pow" in kinds_of(lambda exponent, x: x**exponent, jnp.asarray(1.5, dtype), x)
    assert "pow" in kinds_of(lambda _, x: x**1.3 + x**40.5, (), x)


def test_shared_leaves_may_be_boxes():
    hessian, x = jnp.asarray(normals(5, 5)), normals(5)
    form = scalar_form(gradient_of(dense), hessian, x, max_cost=1000)
    box = boxes_like(hessian, hessian.ravel())
    as_array, as_box = (scalars_of(form(shared, boxes_like(x, jnp.asarray(x)))) for shared in (hessian, box))
    np.testing.assert_array_equal(as_array, as_box)


def test_a_leaf_that_is_not_read_may_be_anything():
    shared, x = {"rate": 0.1, "examples": jnp.asarray(normals(64, 5))}, normals(5)
    form = scalar_form(lambda shared, x, z: x * shared["rate"], shared, x, x, max_cost=100)
    assert form.is_read == (False, True, True, False)
    nothing = {"rate": 0.1, "examples": "nothing"}
    np.testing.assert_array_equal(scalars_of(form(nothing, boxes_like(x, x), "nothing")), x * 0.1)


def test_swept_and_inside_a_loop():
    """A vmap over what the chains share, outside of a scan that carries the vectors: shapes and types stay."""
    x, rates = normals(NUM_CHAINS, 5), jnp.array([0.01, 0.02])
    step = lambda rate, x: x - rate * gradient_of(rosenbrock)((), x)

    def run(rate):
        many = in_scalars(step, rate, x)
        return jnp.stack(lax.scan(lambda xs, _: (many(rate, xs), None), vectors_of(x), length=3)[0], axis=-1)

    def plain(rate):
        return lax.scan(lambda xs, _: (jax.vmap(step, in_axes=(None, 0))(rate, xs), None), x, length=3)[0]

    np.testing.assert_allclose(jax.jit(jax.vmap(run))(rates), jax.vmap(plain)(rates), rtol=1e-12)


def test_order_and_structure():
    tree = {"b": np.arange(6.0).reshape(2, 3), "a": np.float64(7.0), "c": np.zeros((0, 2))}
    assert scalars_of(boxes_like(tree, np.asarray(ravel_pytree(tree)[0]))) == tuple(np.asarray(ravel_pytree(tree)[0]))
    with pytest.raises(ValueError, match="more of them"):
        boxes_like(tree, range(8))
    with pytest.raises(ValueError):
        boxes_like(tree, range(6))
    form = scalar_form(lambda _, x: x["a"], (), {"a": np.ones(2)}, max_cost=10)
    with pytest.raises(TypeError, match="structure"):
        form((), boxes_like(np.ones(2), [1.0, 2.0]))
