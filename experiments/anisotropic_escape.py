"""A third of the runs with the gradient's covariance leave a sharp valley for a flat one; of those with isotropic noise
of the same trace about one in a hundred.

Two dimensions, 100 examples x, per-example loss

    min{10 (K1 a - K2 b)^2 + 100 (K1 a + K2 b)^2, a'^2 + b'^2},   (a, b) = w - x - (1, 1),   (a', b') = w - x + (1, 1),

K1 = K2 = cos 45: a sharp valley at (1, 1), steepest towards the flat one at (-1, -1). Examples are x = 0.01
diag(sqrt 10, 1) N(0, I) turned by 45 degrees, x K with K = [[K1, -K2], [K2, K1]], so that in the sharp valley the
covariance of the gradients is proportional to the Hessian. Every step is w' = w - rate grad L(w) + noise, with the full
gradient and no noise (gradient descent) or Gaussian noise whose covariance has the trace 0.01 at every w; only its
shape differs: isotropic, the diagonal of the gradient covariance, the gradient covariance, the Hessian, and its top
eigenvector, all at the current w. An escape has succeeded when both coordinates are below -0.5 after 500 steps.

The Hessian is that of the examples' own branches: positive definite everywhere, so no part of it has to be cut off (the
kink where an example changes its branch has no Hessian). In the flat valley it is 2 I and its top eigenvector is any;
taken is the limit from the sharp side, (1, 1)/sqrt 2. Here the diagonal of the covariance is nearly isotropic, because
the valley lies at 45 degrees to the axes.

Each share of successes stands beside that of a second program: plain NumPy in axes along and across the way out, with
its own gradients, covariances and Hessian (closed wherever all examples are in one valley, which bounds decide), its
own factors of the covariances, its own random numbers, and only the 100 examples in common.

Source: Zhu, Wu, Yu, Wu, Ma 2019 (arXiv 1803.00195), the two-dimensional toy of the experiments, with the constants and
the rule of success of the authors' program.
Command: `sgdsde reproduce anisotropic_escape`.

What it does not say: the paper prints no success rates for this toy that we could find, so nothing here is compared
with one; the shares are those of one draw of the 100 examples, 500 steps and this rate. Two programs can share a
misunderstanding of the set-up, though not an error of code. The toy is built so that the noise points along the way
out: that it does so in a network is not shown here. The five noises have equal trace at every w, so that the noise does
not die in the flat valley as SGD's own would.
"""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from sgdsde import Check, Problem, euler_maruyama, example_gradients, loss, simulate, style
from sgdsde.laws import normals
from sgdsde.noise import Noise

SEE = (
    "In 500 steps {covariance: success rate | predicted} of the runs with the gradient covariance leave the sharp "
    "valley for the flat one, {isotropic: success rate | predicted} with isotropic noise of the same trace and "
    "{diagonal: success rate | predicted} with the covariance's diagonal (predicted by a second program; simulated "
    "within {covariance: success rate | within} for the first)."
)


@dataclass(frozen=True)
class Config:
    learning_rate: float = 0.005
    """step size of the full gradient"""
    noise_trace: float = 0.01
    """trace of the covariance of what is added to w in each step"""
    gentle_curvature: float = 20.0
    """curvature of the sharp valley across the way out"""
    steep_curvature: float = 200.0
    """curvature of the sharp valley along the way out"""
    spread: float = 0.01
    """standard deviation of the examples along the way out; across it sqrt 10 times as much"""
    num_examples: int = 100
    """examples in the loss"""
    data_seed: int = 0
    """seed of the examples"""
    num_steps: int = 500
    """steps of a run"""
    every: int = 10
    """steps between two records"""
    num_runs: int = 40_000
    """independent runs with each noise, all from (1, 1)"""
    num_second_runs: int = 100_000
    """runs of the second program with each noise"""
    num_paths: int = 3
    """runs whose whole path is kept"""
    seed: int = 0


SMOKE = Config(num_examples=20, num_steps=20, num_runs=40, num_second_runs=40)
KINDS = ("gradient descent", "isotropic", "diagonal", "covariance", "Hessian", "top eigenvector")
WITHIN = (0.0, 0.33, 0.33, 0.06, 0.06, 0.06)
"""relative allowances of the success rates: about 5.9 standard errors of their differences from the second program"""
DIMENSIONS = {
    "success": ("noise", "record"),
    "success_error": ("noise", "record"),
    "paths": ("noise", "record", "run", "coordinate"),
    "step": ("record",),
    "num_diverged": ("noise",),
}


def example_loss(gentle, steep, w, x):
    """The smaller of the two valleys, moved by the example; w and x are pairs of numbers."""
    (first, second), half = [u - z for u, z in zip(w, x)], 0.5**0.5
    a, b = first - 1, second - 1
    sharp = gentle / 2 * (half * a - half * b) ** 2 + steep / 2 * (half * a + half * b) ** 2
    return jnp.minimum(sharp, (first + 1) ** 2 + (second + 1) ** 2)


def standard_draws(config):
    return np.random.default_rng(config.data_seed).normal(size=(config.num_examples, 2))


def landscape(config):
    draws = standard_draws(config)
    turned = np.array([10**0.5, 1.0]) * draws @ np.array([[0.5, -0.5], [0.5, 0.5]]) * 2**0.5
    curvatures = jnp.asarray(config.gentle_curvature), jnp.asarray(config.steep_curvature)
    examples = tuple(config.spread * jnp.asarray(column) for column in turned.T)
    return Problem(Partial(example_loss, *curvatures), examples, Partial(start))


def start(key):
    return jnp.ones(()), jnp.ones(())


def isotropic_shape(problem, w):
    return jnp.ones(()), jnp.zeros(()), jnp.ones(())


def covariance_shape(problem, w):
    x, y = (slopes - slopes.mean() for slopes in example_gradients(problem, w))
    return jnp.mean(x * x), jnp.mean(x * y), jnp.mean(y * y)


def diagonal_shape(problem, w):
    xx, xy, yy = covariance_shape(problem, w)
    return xx, 0 * xy, yy


def hessian_shape(problem, w):
    (xx, xy), (_, yy) = jax.hessian(Partial(loss, problem))(w)
    return xx, xy, yy


def eigenvector_shape(problem, w):
    """The projector on the top eigenvector, (H - h_2 I)/(h_1 - h_2); where h_1 = h_2, on (1, 1)/sqrt 2."""
    xx, xy, yy = hessian_shape(problem, w)
    gap = jnp.sqrt((xx - yy) ** 2 + 4 * xy**2)
    is_round = gap < 1e-3 * (xx + yy)
    gap, turn = jnp.where(is_round, 1, gap), jnp.where(is_round, 0, (xx - yy) / 2)
    turn, mixed = turn / gap, jnp.where(is_round, 0.5, xy / gap)
    return 0.5 + turn, mixed, 0.5 - turn


SHAPES = (isotropic_shape, isotropic_shape, diagonal_shape, covariance_shape, hessian_shape, eigenvector_shape)
"""2 x 2 covariances (xx, xy, yy) up to a factor, in the order of KINDS"""


def scaled(problem, kind, total, w, draws):
    """Gaussian noise of the kind's covariance C at w, scaled to the trace `total`, by the square root of a 2 x 2
    covariance: (C + sqrt(det C) I)/sqrt(tr C + 2 sqrt(det C))."""
    xx, xy, yy = jax.lax.switch(kind, SHAPES, problem, w)
    root = jnp.sqrt(jnp.maximum(xx * yy - xy**2, 0))
    factor = jnp.sqrt(total / ((xx + yy) * (xx + yy + 2 * root)))
    return factor * ((xx + root) * draws[0] + xy * draws[1]), factor * (xy * draws[0] + (yy + root) * draws[1])


def dynamics(config, problem, index):
    """A step of learning rate times (full gradient + noise): in gradient units the trace is the asked over rate^2."""
    trace_in_gradients = config.noise_trace / config.learning_rate**2 if index else 0.0
    noise = Partial(scaled, problem, jnp.int32(index), jnp.asarray(trace_in_gradients))
    law = Noise(normals(problem.params_like), noise)
    return euler_maruyama(problem, law, learning_rate=config.learning_rate, substeps=1)


def position(params):
    return jnp.stack(params)


def run(config, key):
    problem, rows = landscape(config), []
    steps = config.every * jnp.arange(1, config.num_steps // config.every + 1)
    for index in range(len(KINDS)):
        trajectory = simulate(
            dynamics(config, problem, index), start(None), jax.random.fold_in(key, index), num_steps=config.num_steps,
            num_chains=config.num_runs, observe=position, every=config.every,
        )  # fmt: skip
        is_out = jnp.all(trajectory.observed < -0.5, axis=-1)
        rate = jnp.mean(is_out, axis=1, dtype=float)
        rows.append({
            "success": rate,
            "success_error": jnp.sqrt(rate * (1 - rate) / config.num_runs),
            "paths": trajectory.observed[:, : config.num_paths],
            "num_diverged": jnp.sum(trajectory.diverged_at >= 0),
        })  # fmt: skip
    return {**jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows), "step": steps}


def second_program(config, kind):
    """Success rates at every record, in the axes a = (w1 + w2)/sqrt 2, along the way out, and b = (w2 - w1)/sqrt 2.

    There the valleys are (c a'^2 + k b'^2)/2 with (c, k) = (steep, gentle) about a = sqrt 2 and (2, 2) about
    -sqrt 2, and w has succeeded where (a + |b|)/sqrt 2 < -1/2.
    """
    rng, rate, total = np.random.default_rng([config.seed, kind]), config.learning_rate, config.noise_trace
    draws, found = standard_draws(config), []
    data = config.spread * draws[:, 1], -config.spread * 10**0.5 * draws[:, 0]
    a, b = np.full(config.num_second_runs, 2**0.5), np.zeros(config.num_second_runs)
    for step in range(1, config.num_steps + 1):
        slopes, spread, curvatures = local_moments(config, data, a, b)
        along, across = NOISES[kind](*spread, *curvatures, *rng.standard_normal((2, a.size)))
        a = a - rate * slopes[0] + np.sqrt(total) * along
        b = b - rate * slopes[1] + np.sqrt(total) * across
        if step % config.every == 0:
            found.append(np.mean((a + np.abs(b)) / 2**0.5 < -0.5))
    return np.array(found)


def local_moments(config, data, a, b):
    """Mean gradient (along, across), its covariance (aa, ab, bb) and mean curvatures (along, across) over examples."""
    (p, q), steep, gentle = data, config.steep_curvature, config.gentle_curvature
    gap = (steep * (a - 2**0.5) ** 2 + gentle * b**2) / 2 - (a + 2**0.5) ** 2 - b**2
    is_sharp = gap < 0
    c, k = np.where(is_sharp, steep, 2.0), np.where(is_sharp, gentle, 2.0)
    slopes = [c * (a - p.mean() + np.where(is_sharp, -(2**0.5), 2**0.5)), k * (b - q.mean())]
    spread = [c**2 * p.var(), c * k * (np.mean(p * q) - p.mean() * q.mean()), k**2 * q.var()]
    # an example moves the gap by at most this; beyond it all examples are in the valley of their mean
    reach = np.abs(steep * (a - 2**0.5) - 2 * (a + 2**0.5)) * np.abs(p).max()
    reach += np.abs((gentle - 2) * b) * np.abs(q).max() + steep * np.max(p**2) + gentle * np.max(q**2)
    mixed = np.flatnonzero(np.abs(gap) < reach)
    u, v = a[mixed, None] - p, b[mixed, None] - q
    sharp = (steep * (u - 2**0.5) ** 2 + gentle * v**2) / 2 < (u + 2**0.5) ** 2 + v**2
    along = np.where(sharp, steep * (u - 2**0.5), 2 * (u + 2**0.5))
    across = np.where(sharp, gentle, 2.0) * v
    covariance = along.var(axis=1), np.mean(along * across, axis=1) - along.mean(1) * across.mean(1), across.var(axis=1)
    share = sharp.mean(axis=1)
    rows = [along.mean(1), across.mean(1), *covariance, 2 + (steep - 2) * share, 2 + (gentle - 2) * share]
    for whole, part in zip([*slopes, *spread, c, k], rows, strict=True):
        whole[mixed] = part
    return slopes, spread, (c, k)


def no_noise(aa, ab, bb, c, k, first, second):
    return 0.0, 0.0


def isotropic_noise(aa, ab, bb, c, k, first, second):
    return first / 2**0.5, second / 2**0.5


def diagonal_noise(aa, ab, bb, c, k, first, second):
    """Independent in w1 and w2, of variances (aa + bb)/2 -+ ab."""
    share = ab / (aa + bb)
    first, second = np.sqrt(np.maximum(0.5 - share, 0)) * first, np.sqrt(np.maximum(0.5 + share, 0)) * second
    return (first + second) / 2**0.5, (second - first) / 2**0.5


def covariance_noise(aa, ab, bb, c, k, first, second):
    """By Cholesky."""
    root = np.sqrt(aa)
    rest = np.sqrt(np.maximum(bb - (ab / root) ** 2, 0))
    scale = 1 / np.sqrt(aa + bb)
    return scale * root * first, scale * (ab / root * first + rest * second)


def hessian_noise(aa, ab, bb, c, k, first, second):
    return np.sqrt(c / (c + k)) * first, np.sqrt(k / (c + k)) * second


def top_noise(aa, ab, bb, c, k, first, second):
    """Steepest along the way out in both valleys and between them, as `steep` exceeds `gentle`."""
    return first, 0.0


NOISES = (no_noise, isotropic_noise, diagonal_noise, covariance_noise, hessian_noise, top_noise)
"""(along, across) of trace 1, from the moments at w and two standard normals, in the order of KINDS"""


@functools.cache  # the checks and the figure both ask
def predicted(config):
    """Success rates (noise, record) of the second program and their standard errors."""
    rates = np.stack([second_program(config, kind) for kind in range(len(KINDS))])
    return rates, binomial_error(rates, config.num_second_runs)


def binomial_error(rates, count):
    """Not less than if one run had succeeded."""
    return np.sqrt(np.maximum(rates * (1 - rates), 1 / count) / count)


def checks(config, arrays):
    rates, errors = arrays["success"][:, -1], binomial_error(arrays["success"][:, -1], config.num_runs)
    second, second_errors = (table[:, -1] for table in predicted(config))
    found = [Check("gradient descent: success rate", rates[0], 0, 0, 0, "agree", "no noise: it stays at the minimum")]
    for kind in range(1, len(KINDS)):
        error, source = np.hypot(errors[kind], second_errors[kind]), "a second program, plain NumPy"
        name = f"{KINDS[kind]}: success rate"
        found.append(Check(name, rates[kind], second[kind], error, WITHIN[kind], "agree", source))
    middle = arrays["success"].shape[1] // 2 - 1
    for kind in range(3, len(KINDS)):
        measured, exact = arrays["success"][kind, middle], predicted(config)[0][kind, middle]
        error = np.hypot(binomial_error(measured, config.num_runs), binomial_error(exact, config.num_second_runs))
        name = f"{KINDS[kind]}: success rate at step {int(arrays['step'][middle])}"
        found.append(Check(name, measured, exact, error, 0.12, "agree", "a second program, plain NumPy"))
    return [*found, Check("runs diverged", arrays["num_diverged"].sum(), 0, 0, 0, "agree", "none may")]


@jax.jit
def covariances_at(problem, places):
    """Of every kind (up to a factor), at each of some places."""
    matrices = [[shape(problem, tuple(place)) for place in places] for shape in SHAPES]
    return [[jnp.stack([xx, xy, xy, yy]).reshape(2, 2) for xx, xy, yy in row] for row in matrices]


COLOURS = ("gibbs", "isotropic", "constant", "anisotropic", "theory", "levy")
MARKERS, LINES = ("*", "s", "v", "^", "o", "D"), ("-", "--", ":", "-", "-.", (0, (4, 1)))


def plot(config, arrays):
    figure, ((paths, shapes), (times, rates)) = style.figure(2, 2, width=7.6, height=7.0)
    map_panels(config, arrays, paths, shapes)
    second, second_errors = predicted(config)
    for kind, name in enumerate(KINDS):
        look = {"color": style.COLOURS[COLOURS[kind]], "marker": MARKERS[kind]}
        mean, error = arrays["success"][kind], binomial_error(arrays["success"][kind], config.num_runs)
        times.plot(arrays["step"], 100 * second[kind], color=look["color"], linestyle=LINES[kind], linewidth=1)
        sparse = slice(4, None, 5) if arrays["step"].size > 10 else slice(None)
        times.plot(arrays["step"][sparse], 100 * mean[sparse], **look, linestyle="none", label=name)
        rates.errorbar(
            100 * second[kind, -1], kind + 0.2, xerr=590 * second_errors[kind, -1], color="black", marker="|",
            capsize=3, markersize=9, label=None if kind else "second program",
        )  # fmt: skip
        rates.errorbar(
            100 * mean[-1], kind - 0.2, xerr=590 * error[-1], **look, capsize=3, label=None if kind else "simulated"
        )
    times.plot([], [], color="grey", label="lines: second program")
    times.set(xlabel="step", ylabel="runs in the flat valley, %", title="(c) success rate, step by step")
    times.legend(fontsize=7)
    rates.set_yticks(range(len(KINDS)), KINDS)
    rates.set(xlabel=f"success rate after {config.num_steps} steps, %", ylim=(6.6, -0.6), xlim=(-2, 45))
    rates.set_title("(d) bars: ± 5.9 standard errors")
    rates.legend(fontsize=7, loc="lower right")
    return figure


def map_panels(config, arrays, paths, shapes):
    """The landscape with one path for each noise, and with the noise of one step in both valleys."""
    problem = landscape(config)
    grid = np.linspace(-2.3, 1.8, 120)
    mesh = tuple(jnp.asarray(axis.ravel()) for axis in np.meshgrid(grid, grid))
    height = np.asarray(jax.jit(jax.vmap(Partial(loss, problem)))(mesh)).reshape(120, 120)
    valleys = np.array([[1.0, 1.0], [-1.0, -1.0]])
    covariances = covariances_at(problem, jnp.asarray(valleys))
    for panel in (paths, shapes):
        panel.contour(grid, grid, np.log10(height), levels=12, colors="0.75", linewidths=0.6, linestyles="-")
        panel.axhline(-0.5, color="grey", linewidth=0.8, linestyle=":")
        panel.axvline(-0.5, color="grey", linewidth=0.8, linestyle=":")
        panel.set(
            xlabel="first parameter", ylabel="second parameter", aspect="equal", xlim=(-2.3, 1.8), ylim=(-2.3, 1.8)
        )
    for kind in range(1, len(KINDS)):
        colour, line = style.COLOURS[COLOURS[kind]], LINES[kind]
        walk = arrays["paths"][kind, :, 0]
        paths.plot(*np.vstack([np.ones((1, 2)), walk]).T, color=colour, linewidth=0.7, linestyle=line)
        look = {"marker": MARKERS[kind], "color": colour, "markeredgecolor": "black", "markeredgewidth": 0.5}
        paths.plot(*walk[-1], **look, markersize=6, linestyle="none", label=KINDS[kind], zorder=5)
        for place, covariance in zip(valleys, covariances[kind]):
            matrix = np.asarray(covariance, float)
            values, vectors = np.linalg.eigh(config.noise_trace * matrix / np.trace(matrix))
            angle = np.linspace(0, 2 * np.pi, 100)
            circle = np.stack([np.cos(angle), np.sin(angle)]) * 4 * np.sqrt(np.maximum(values, 0))[:, None]
            outline = place[:, None] + vectors @ circle
            label = KINDS[kind] if place[0] > 0 else None
            shapes.plot(*outline, color=colour, linestyle=line, label=label, linewidth=4 - kind / 2, zorder=kind)
    paths.set_title("(a) one path for each noise (marker: its end)")
    shapes.set_title("(b) noise of one step, 4 standard deviations")
    for panel in (paths, shapes):
        panel.legend(fontsize=7, loc="lower right", handlelength=2.4)
