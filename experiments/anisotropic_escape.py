"""Anisotropic noise leaves a sharp valley for a flat one where isotropic noise of the same size stays.

Two dimensions, 100 examples x, per-example loss

    min{10 (K1 a - K2 b)^2 + 100 (K1 a + K2 b)^2, a'^2 + b'^2},   (a, b) = w - x - (1, 1),   (a', b') = w - x + (1, 1),

K1 = K2 = cos 45: a sharp valley at (1, 1), steepest towards the flat one at (-1, -1). Examples are
x = 0.01 diag(sqrt 10, 1) N(0, I) turned by 45 degrees, x K with K = [[K1, -K2], [K2, K1]], so that in the sharp valley
the covariance of the gradients is proportional to the Hessian. Every step is w' = w - rate grad L(w) + noise, with the
full gradient and Gaussian noise whose covariance has the trace 0.01 at every w; only its shape differs: nothing
(gradient descent), isotropic, the diagonal of the gradient covariance, the gradient covariance, the Hessian, and its
top eigenvector, all at the current w. An escape has succeeded when both coordinates are below -0.5 after 500 steps.

The Hessian is that of the examples' own branches: positive definite everywhere, so no part of it has to be cut off (the
kink where an example changes its branch has no Hessian). In the flat valley it is 2 I and its top eigenvector is any;
taken is the limit from the sharp side, (1, 1)/sqrt 2. Here the diagonal of the covariance is nearly isotropic, because
the valley lies at 45 degrees to the axes.

Source: Zhu, Wu, Yu, Wu, Ma 2019 (arXiv 1803.00195), the two-dimensional toy of the experiments; the expected ranges
allow for another draw of the 100 examples.
Command: `sgdsde reproduce anisotropic_escape`, about two minutes on two cores. One should see: no escape by gradient
descent, below 5 % with isotropic and diagonal noise, and 20 to 50 % with the three others.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from sgdsde import Check, Problem, euler_maruyama, example_gradients, loss, simulate, style
from sgdsde.laws import normals
from sgdsde.noise import Noise


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
    num_runs: int = 20_000
    """independent runs with each noise, all from (1, 1)"""
    num_paths: int = 3
    """runs whose whole path is kept"""
    seed: int = 0


SMOKE = Config(num_examples=20, num_steps=20, num_runs=40)
KINDS = ("gradient descent", "isotropic", "diagonal", "covariance", "Hessian", "top eigenvector")
RANGES = ((0.0, 0.0), (0.0, 0.05), (0.0, 0.05), (0.2, 0.45), (0.17, 0.38), (0.3, 0.5))
"""of the success rate, expected for each kind"""
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


def landscape(config):
    draws = np.random.default_rng(config.data_seed).normal(size=(config.num_examples, 2))
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


def checks(config, arrays):
    rates = arrays["success"][:, -1]
    errors = np.maximum(arrays["success_error"][:, -1], 1 / config.num_runs)  # no run out of so many proves little
    source = "Zhu et al. 2019: two-dimensional toy"
    found = [Check("gradient descent: success rate", rates[0], 0, 0, 0, "agree", source)]
    for kind, rate, error, (low, high) in list(zip(KINDS, rates, errors, RANGES))[1:]:
        found.append(Check(f"{kind}: success rate", rate, high, error, 0, "below", source))
        if low:
            found.append(Check(f"{kind}: success rate at least", rate, low, error, 0, "above", source))
    for weak in (1, 2):
        for strong in (3, 4, 5):
            difference, error = rates[strong] - rates[weak], np.hypot(errors[strong], errors[weak])
            name = f"{KINDS[strong]} over {KINDS[weak]}: success rates"
            found.append(Check(name, difference, 0, error, 0, "above", source))
    return [*found, Check("runs diverged", arrays["num_diverged"].sum(), 0, 0, 0, "agree", "none may")]


@jax.jit
def covariances_at(problem, places):
    """Of every kind (up to a factor), at each of some places."""
    matrices = [[shape(problem, tuple(place)) for place in places] for shape in SHAPES]
    return [[jnp.stack([xx, xy, xy, yy]).reshape(2, 2) for xx, xy, yy in row] for row in matrices]


COLOURS = ("gibbs", "isotropic", "diagonal", "anisotropic", "theory", "levy")


def plot(config, arrays):
    figure, ((paths, shapes), (times, rates)) = style.figure(2, 2, width=9.0, height=7.2)
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
        colour = style.COLOURS[COLOURS[kind]]
        walk = arrays["paths"][kind, :, 0]
        paths.plot(*np.vstack([np.ones((1, 2)), walk]).T, color=colour, linewidth=0.8, label=KINDS[kind])
        paths.plot(*walk[-1], "o", color=colour, markeredgecolor="black", markeredgewidth=0.5)
        if kind > 1:
            for place, covariance in zip(valleys, covariances[kind]):
                matrix = np.asarray(covariance, float)
                values, vectors = np.linalg.eigh(config.noise_trace * matrix / np.trace(matrix))
                angle = np.linspace(0, 2 * np.pi, 100)
                circle = np.stack([np.cos(angle), np.sin(angle)]) * 4 * np.sqrt(np.maximum(values, 0))[:, None]
                line = place[:, None] + vectors @ circle
                shapes.plot(
                    *line, color=colour, label=KINDS[kind] if place[0] > 0 else None, lw=5 - kind / 1.3, zorder=kind
                )
    paths.set_title("one path for each noise (dot: its end)")
    shapes.set_title("noise of one step, 4 standard deviations")
    for panel in (paths, shapes):
        panel.legend(fontsize=7, loc="lower right", handlelength=1.2)
    for kind, name in enumerate(KINDS):
        colour = style.COLOURS[COLOURS[kind]]
        mean, error = arrays["success"][kind], arrays["success_error"][kind]
        times.plot(arrays["step"], 100 * mean, color=colour, label=name)
        times.fill_between(
            arrays["step"], 100 * (mean - 5.9 * error), 100 * (mean + 5.9 * error), color=colour, alpha=0.3
        )
        low, high = RANGES[kind]
        rates.barh(kind, 100 * (high - low), left=100 * low, height=0.6, color="0.85", zorder=0)
        rates.errorbar(100 * mean[-1], kind, xerr=590 * error[-1], color=colour, marker="o", capsize=3)
    times.set(xlabel="step", ylabel="runs in the flat valley, %")
    times.legend(fontsize=7)
    rates.barh(0, 0, color="0.85", label="expected range")
    rates.errorbar([], [], [], color="black", marker="o", label="measured, ± 5.9 standard errors")
    rates.set_yticks(range(len(KINDS)), KINDS)
    rates.set(xlabel=f"success rate after {config.num_steps} steps, %", ylim=(6.6, -0.6), xlim=(-2, 55))
    rates.legend(fontsize=7, loc="lower right")
    return figure
