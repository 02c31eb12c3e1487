"""A problem: a loss that is the mean over examples, the examples, and where the parameters start.

    L(params) = (1/n) sum_i example_loss(params, example_i) + penalty(params)

Sigma(params), the covariance of one example's gradient, is always divided by n:

    Sigma = (1/n) sum_i (g_i - g)(g_i - g)^T,    g_i = grad example_loss(params, example_i),  g = mean of the g_i.
"""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.tree_util import keystr, tree_leaves, tree_leaves_with_path, tree_map
from optax.microbatching import microbatch as in_microbatches

from sgdsde.arguments import is_floating, is_traced
from sgdsde.casting import as_examples
from sgdsde.pytrees import as_partial, pytree
from sgdsde.tracing import shapes_of

__all__ = [
    "Problem",
    "check_params",
    "check_problem",
    "coordinate_variances",
    "example_gradients",
    "gradient",
    "gradient_covariance",
    "gradient_covariance_trace",
    "gradient_variance",
    "loss",
    "weighted_gradient",
]


@pytree(static=("microbatch",))
class Problem:
    """A finite-sum loss.

    example_loss(params, example) -> scalar; examples: a pytree whose leaves share the leading axis num_examples;
    init(key) -> params, which also fixes the parameters' shapes and precision.
    penalty(params) -> scalar: a full-batch term (weight decay); it adds drift and no noise.
    mean_loss(params) -> scalar: closed form of the mean example loss, where one exists; used for every full gradient.
    noise_factor(params) -> F, the structure of params with a trailing axis r and Sigma = F F^T, where a small one
        exists: anisotropic noise then costs r normals, not num_examples.
    microbatch: how many examples are differentiated at once in a pass over all of them; None means all. Values are the
        same to rounding and peak memory falls with it (per chain). Set it by `dataclasses.replace(problem,
        microbatch=512)`; it need not divide num_examples.

    Without jax_enable_x64, examples of 64 bits are cast to 32 as everywhere in JAX: integers beyond 2^31 and floats
    beyond 3.4e38 are refused, and a warning says where rounding takes more than 1e-4 of the numbers' spread.

    The constructor checks shapes, and mean_loss and noise_factor against the examples at a test point (values known
    only to a trace are not checked). Raises ValueError or TypeError that name the field.
    """

    example_loss: Callable
    examples: Any
    init: Callable
    penalty: Callable | None = None
    mean_loss: Callable | None = None
    noise_factor: Callable | None = None
    microbatch: int | None = None

    def __post_init__(self):
        for name in ("example_loss", "init", "penalty", "mean_loss", "noise_factor"):
            value = getattr(self, name)
            if not callable(value) and (value is not None or name in ("example_loss", "init")):
                raise TypeError(f"Problem.{name}: expected a function, got {type(value).__name__}")
            object.__setattr__(self, name, as_partial(value))
        object.__setattr__(self, "examples", as_examples(self.examples))
        object.__setattr__(self, "microbatch", _checked_microbatch(self.microbatch))
        _check_examples(self.examples)
        _check_shapes(self)
        if not is_traced(self):
            _check_closed_forms(self)

    @property
    def num_examples(self) -> int:
        """n, the length of the examples' leading axis."""
        return tree_leaves(self.examples)[0].shape[0]

    @property
    def params_like(self) -> Any:
        """The parameters' structure, shapes and precision (`jax.ShapeDtypeStruct` leaves), without computing them."""
        return jax.eval_shape(self.init, jax.eval_shape(lambda: jax.random.key(0)))


def check_problem(problem: Any) -> None:
    """Raise TypeError unless it is a Problem."""
    if not isinstance(problem, Problem):
        raise TypeError(f"problem: expected a Problem, got {type(problem).__name__}; make it with Problem(...)")


def check_params(problem: Problem, params: Any, name: str = "params") -> None:
    """Raise TypeError or ValueError unless `params` has the structure and the shapes of problem.init's and is floating
    point: a loss that is elementwise takes others in silence, and answers for parameters that are not the problem's."""
    check_problem(problem)
    like = problem.params_like
    if jax.tree.structure(params) != jax.tree.structure(like):
        is_run = hasattr(params, "params")
        got = f"a {type(params).__name__}; give one chain of its params" if is_run else jax.tree.structure(params)
        raise TypeError(f"{name}: expected {jax.tree.structure(like)} as problem.init gives, got {got}")
    for (path, leaf), want in zip(tree_leaves_with_path(params), tree_leaves(like), strict=True):
        if not is_floating(leaf):
            kind = getattr(leaf, "dtype", type(leaf))
            given = getattr(kind, "name", None) or getattr(kind, "__name__", str(kind))
            raise TypeError(f"{name}{keystr(path)}: expected {want.dtype} as problem.init gives, got {given}")
        if np.shape(leaf) != want.shape:
            raise ValueError(
                f"{name}{keystr(path)}: expected shape {want.shape} as problem.init gives, got {np.shape(leaf)}; give "
                "the parameters of one chain, and map over many with jax.vmap"
            )


def loss(problem: Problem, params: Any) -> jax.Array:
    """L(params): the mean example loss plus the penalty. Raises unless params are like problem.init's, as do all
    functions of a problem and its params."""
    check_params(problem, params)
    return _loss(problem, params)


def _loss(problem: Problem, params: Any) -> jax.Array:
    value = _mean_loss(problem, params)
    return value if problem.penalty is None else value + problem.penalty(params)


def gradient(problem: Problem, params: Any) -> Any:
    """grad L(params), the drift of every dynamics, with the structure of `params` (penalty included)."""
    check_params(problem, params)
    return jax.grad(lambda p: _loss(problem, p))(params)


def weighted_gradient(problem: Problem, params: Any, weights: jax.Array, indices: jax.Array | None = None) -> Any:
    """grad sum_i weights_i example_loss(params, example_i), the penalty left out: one backward pass.

    weights (num_examples,); or (m,) for the m examples at `indices`, which may repeat.
    """
    return jax.grad(lambda p: _weighted_loss(problem, p, weights, indices))(params)


def example_gradients(problem: Problem, params: Any) -> Any:
    """Each example's gradient g_i, on a leading axis num_examples (the penalty, which adds no noise, left out)."""
    check_params(problem, params)
    return _gradients_of(problem, params, problem.examples)


def gradient_covariance(problem: Problem, params: Any) -> jax.Array:
    """Sigma(params) of one example, dense (d, d) in the order of `ravel_pytree`, by enumerating all examples.

    A minibatch of size B has Sigma/B with replacement and Sigma/B (n-B)/(n-1) without. For small problems.
    """
    check_params(problem, params)

    def outer(deviations):
        centred = jax.vmap(lambda tree: ravel_pytree(tree)[0])(deviations)
        return jnp.matmul(centred.T, centred, precision="highest")

    return _mean_over_deviations(problem, params, outer)


def coordinate_variances(problem: Problem, params: Any) -> Any:
    """diag Sigma(params) of one example, with the structure of `params`: the variance of every coordinate's gradient
    over the examples (or the row sums of the squared noise factor, where the problem has one)."""
    check_params(problem, params)
    if problem.noise_factor is not None:
        return tree_map(lambda leaf: jnp.sum(leaf**2, axis=-1), problem.noise_factor(params))
    squares = lambda deviations: tree_map(lambda leaf: jnp.sum(leaf**2, axis=0), deviations)
    return _mean_over_deviations(problem, params, squares)


def gradient_covariance_trace(problem: Problem, params: Any) -> jax.Array:
    """tr Sigma(params) of one example, with no dense matrix: a *sum* over the parameters, their number times the
    variance of the isotropic noise that has the same trace. `temperatures` makes the temperature of it."""
    return jnp.sum(jnp.stack([jnp.sum(leaf) for leaf in tree_leaves(coordinate_variances(problem, params))]))


def gradient_variance(problem: Problem, params: Any) -> jax.Array:
    """The former name of `gradient_covariance_trace`; `predictions.temperature` asks for another number of this name,
    the variance in one coordinate."""
    warnings.warn(
        "gradient_variance(problem, params) is tr Sigma, a sum over all parameters, while the argument "
        "gradient_variance of predictions.temperature is the variance in one coordinate: call "
        "gradient_covariance_trace(problem, params) for the trace and temperatures(dynamics, params) for temperatures",
        DeprecationWarning,
        stacklevel=2,
    )
    return gradient_covariance_trace(problem, params)


def _mean_loss(problem: Problem, params: Any) -> jax.Array:
    return _mean_example_loss(problem, params) if problem.mean_loss is None else problem.mean_loss(params)


def _mean_example_loss(problem: Problem, params: Any) -> jax.Array:
    if problem.microbatch is None:
        return jnp.mean(_losses_of(problem, params, problem.examples))
    return _weighted_loss(problem, params, jnp.ones(problem.num_examples)) / problem.num_examples


def _weighted_loss(problem: Problem, params: Any, weights: jax.Array, indices: Any = None) -> jax.Array:
    def part(examples, weights):
        losses = _losses_of(problem, params, examples)
        return jnp.sum(jnp.asarray(weights, losses.dtype) * losses)  # no product of lower precision

    return _sum_over_examples(problem, part, weights, indices)


def _mean_over_deviations(problem: Problem, params: Any, product: Callable) -> Any:
    """(1/n) sum_i product(g_i - g) of a product that takes deviations on a leading axis and sums over it. In
    microbatches the mean g comes from a pass of its own: no difference of large sums, no array (num_examples, d)."""
    if problem.microbatch is None:
        gradients = example_gradients(problem, params)
        total = product(tree_map(lambda leaf: leaf - jnp.mean(leaf, axis=0, keepdims=True), gradients))
    else:
        mean = jax.grad(lambda p: _mean_example_loss(problem, p))(params)

        def part(examples, kept):
            centred = lambda keep, g: tree_map(lambda g, centre: jnp.asarray(keep, g.dtype) * (g - centre), g, mean)
            return product(jax.vmap(centred)(kept, _gradients_of(problem, params, examples)))

        total = _sum_over_examples(problem, part, jnp.ones(problem.num_examples))
    return tree_map(lambda leaf: leaf / problem.num_examples, total)


def _sum_over_examples(problem: Problem, part: Callable, weights: jax.Array, indices: Any = None) -> Any:
    """part(examples, weights), a sum over examples, in microbatches; where the last is short, examples of weight 0 fill
    it up. Nothing of a microbatch is kept for a backward pass, which computes it again."""
    count, size = weights.shape[0], problem.microbatch
    at = lambda places: tree_map(lambda leaf: leaf[places], problem.examples)
    if size is None or size >= count:
        return part(problem.examples if indices is None else at(indices), weights)
    places = jnp.arange(count, dtype=jnp.int32) if indices is None else indices
    places, weights = (jnp.pad(array, (0, -count % size)) for array in (places, weights))
    one = jax.checkpoint(lambda places, weights: part(at(places), weights), prevent_cse=False)
    return in_microbatches(one, argnums=(0, 1), microbatch_size=size)(places, weights)


def _losses_of(problem: Problem, params: Any, examples: Any) -> jax.Array:
    return jax.vmap(problem.example_loss, in_axes=(None, 0))(params, examples)


def _gradients_of(problem: Problem, params: Any, examples: Any) -> Any:
    return jax.vmap(jax.grad(problem.example_loss), in_axes=(None, 0))(params, examples)


def _checked_microbatch(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"Problem.microbatch: expected a number of examples (an integer) or None, got {value!r}")
    if value < 1:
        raise ValueError(f"Problem.microbatch: expected at least 1 example at once, or None for all, got {value}")
    return int(value)


def _check_examples(examples: Any) -> None:
    leaves = tree_leaves_with_path(examples)
    if not leaves:
        raise ValueError("Problem.examples: expected at least one array, got an empty pytree")
    lengths = {f"examples{keystr(path)}": (leaf.shape[0] if leaf.ndim else None) for path, leaf in leaves}
    if len(set(lengths.values())) > 1 or None in lengths.values() or 0 in lengths.values():
        found = ", ".join(
            f"{name} {'is a scalar' if length is None else f'has {length}'}" for name, length in lengths.items()
        )
        if isinstance(examples, list | tuple) and all(leaf.ndim == 0 for _, leaf in leaves):
            found += "; a list or tuple is a pytree of its entries, so write jnp.array([...]) for one array of numbers"
        raise ValueError(f"Problem.examples: every array needs the same leading axis num_examples >= 1, but {found}")
    for path, leaf in leaves:
        inexact = jnp.issubdtype(leaf.dtype, jnp.inexact)
        if inexact and not is_traced(leaf) and not np.isfinite(leaf).all():
            raise ValueError(f"Problem.examples{keystr(path)}: contains NaN or inf; remove those examples first")


def _check_shapes(problem: Problem) -> None:
    key = jax.eval_shape(lambda: jax.random.key(0))
    params = shapes_of("Problem.init", problem.init, key, expected="a function key -> params (arrays)")
    if not tree_leaves(params):
        raise TypeError(f"Problem.init: expected parameters, got {params!r}, which holds no array")
    for path, leaf in tree_leaves_with_path(params):
        if leaf.size == 0:
            raise ValueError(f"Problem.init: params{keystr(path)} is an empty array, of shape {leaf.shape}")
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise TypeError(f"Problem.init: params{keystr(path)} is {leaf.dtype}; parameters must be floating point")
    example = tree_map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), problem.examples)
    scalars = {"example_loss": (params, example), "penalty": (params,), "mean_loss": (params,)}
    for name, arguments in scalars.items():
        function = getattr(problem, name)
        wanted = f"a function ({'params, example' if name == 'example_loss' else 'params'}) -> scalar"
        out = None if function is None else shapes_of(f"Problem.{name}", function, *arguments, expected=wanted)
        if function is not None and (not hasattr(out, "shape") or out.shape != ()):
            got = f"an array of shape {out.shape}" if hasattr(out, "shape") else f"a {type(out).__name__}"
            raise ValueError(
                f"Problem.{name}: expected a scalar loss{' of one example' if name == 'example_loss' else ''}, "
                f"got {got}; reduce it inside the function (for example with .mean())"
            )
        if out is not None and not jnp.issubdtype(out.dtype, jnp.floating):
            raise TypeError(f"Problem.{name}: expected a floating-point loss, got {out.dtype}")
    if problem.noise_factor is not None:
        factor = shapes_of("Problem.noise_factor", problem.noise_factor, params, expected="a function params -> arrays")
        shapes = [leaf.shape for leaf in tree_leaves(params)]
        found = [leaf.shape for leaf in tree_leaves(factor)]
        ranks = {shape[-1] for shape in found if shape}
        if [shape[:-1] for shape in found] != shapes or len(ranks) != 1:
            raise ValueError(
                f"Problem.noise_factor: expected the shapes of params {shapes} and one trailing axis r, got {found}"
            )


def _check_closed_forms(problem: Problem) -> None:
    """mean_loss and noise_factor against the examples, at a point near init and along three random directions."""
    if problem.mean_loss is None and problem.noise_factor is None:
        return
    start = problem.init(jax.random.key(0))
    size = sum(leaf.size for leaf in tree_leaves(start))
    draws = np.random.default_rng(0).normal(size=(4, size))  # on the host: a compiled draw would cost a second
    rows = jax.device_get(_audit(problem, start, draws.astype(tree_leaves(start)[0].dtype)))
    for name, (given, expected, size) in rows.items():
        precision = jnp.finfo(tree_leaves(problem.params_like)[0].dtype).eps
        excess = np.abs(given - expected) - 1e4 * precision * size
        if np.isfinite(expected).all() and not (excess <= 0).all():
            worst = int(np.nanargmax(np.where(np.isnan(excess), np.inf, excess)))
            meaning = {
                "mean_loss": "the mean of example_loss over the examples (constant included, penalty left out)",
                "noise_factor": "Sigma of one example's gradient (not that of a batch), along a random direction",
            }[name]
            raise ValueError(
                f"Problem.{name}: at a test point it gives {given[worst]:.6g}, but {meaning} is "
                f"{expected[worst]:.6g}; mend the closed form or leave it out"
            )


@jax.jit
def _audit(problem: Problem, start: Any, draws: Any) -> dict[str, tuple]:
    flat, unravel = ravel_pytree(start)
    params, directions = unravel(flat + 0.3 * draws[0]), draws[1:]

    def derivative(function, direction, *rest):
        return jax.jvp(lambda p: function(p, *rest), (params,), (unravel(direction),))

    losses, slopes = jax.lax.map(
        lambda example: jax.vmap(lambda v: derivative(problem.example_loss, v, example))(directions),
        problem.examples,
        batch_size=min(problem.num_examples, 256),
    )
    rows = {}
    if problem.mean_loss is not None:
        value, slope = jax.vmap(lambda v: derivative(problem.mean_loss, v))(directions)
        given, expected = jnp.concatenate([value, slope]), jnp.concatenate([losses.mean(0), slopes.mean(0)])
        size = jnp.concatenate([jnp.abs(losses).mean(0), jnp.abs(slopes).mean(0)])
        rows["mean_loss"] = (given, expected, size + jnp.abs(given))
    if problem.noise_factor is not None:
        factor = jax.vmap(lambda tree: ravel_pytree(tree)[0], in_axes=-1, out_axes=-1)(problem.noise_factor(params))
        given = jnp.sum((directions @ factor) ** 2, axis=-1)
        rows["noise_factor"] = (given, jnp.var(slopes, axis=0), jnp.mean(slopes**2, axis=0) + given)
    return rows
