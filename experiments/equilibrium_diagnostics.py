"""SGD's stationary law need not be an equilibrium: noise that does not commute with the curvature drives a current.

Three diagnostics of a stationary chain, each beside its exact prediction. (1) Fluctuation-dissipation: for any loss,
E[x . g] = (eta (1 + mu)/2) E|m'|^2 with the minibatch gradient g and the momentum buffer m'; under epoch sampling on
average over whole epochs. A quadratic, and logistic regression on real data (iris, versicolor against virginica). (2)
Currents on a quadratic with Hessian H: where H and the noise covariance C do not commute, the mean angular momentum
E[x_1 o dx_2 - x_2 o dx_1]/dt is [H, S]_12, S the covariance, and entropy is produced; where they commute both vanish.
SGD has its own S; at a finite lag the angular momentum shrinks, as predicted. (3) Whitened increments: every step has
the stated mean and covariance, whatever the position and the other steps, and is Gaussian for the SDE.

Source: Yaida 2018 (arXiv 1810.00004) for (1); Chaudhari and Soatto 2018 (1710.11029) for (2).
Command: `sgdsde reproduce equilibrium_diagnostics`.

What it does not say: one quadratic in two dimensions at rate x curvature 0.64, far from small, and one logistic
regression on 100 flowers; 2,000 chains, one seed. The fluctuation-dissipation ratio of a single run telescopes: that it
is 1 says that |x|^2 does not drift, no more. That there is no current where H and C commute is tested on the angular
momentum, at a lag of one step to 2 % of the other case, and on the entropy production, to 0.2 %: there is none for
Gaussian noise, and minibatches of 8 examples are not Gaussian. Entropy production is that of the current averaged over
20 x 20 cells, which loses up to 3 % of the plane's. Of SGD's increments mean, covariance and independence are tested,
of the SDE's the law too; each entry is the worst of several.
"""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from sgdsde import Check, Problem, euler_maruyama, landscapes, noise, sgd, simulate, style
from sgdsde.measurements import (
    angular_momentum,
    entropy_production,
    fluctuation_dissipation_ratio,
    increment_test,
    minibatch_gradients,
    probability_current,
    whitened_increments,
)
from sgdsde.predictions import sgd_angular_momentum, sgd_covariance, sgd_current, sgd_entropy_production

SEE = """Where noise and curvature do not commute SGD's mean angular momentum is
{SGD, non-commuting: angular momentum at lag 1 | predicted} per unit time (met within
{SGD, non-commuting: angular momentum at lag 1 | within}), and 0 within as much where they do. The
fluctuation-dissipation ratio of SGD is {fluctuation-dissipation: quadratic, epoch, momentum 0.9} on the quadratic and
{fluctuation-dissipation: logistic, epoch, momentum 0.9} on real data, with momentum and epoch sampling too."""


@dataclass(frozen=True)
class Config:
    learning_rate: float = 0.4
    """step size on the quadratic"""
    curvatures: tuple[float, ...] = (1.6, 0.3)
    """eigenvalues of the Hessian"""
    correlation: float = 0.7
    """of the two components of the gradient noise, each of variance 1 for one example; 0 in the commuting case"""
    momentum: float = 0.9
    """heavy-ball momentum of the fluctuation-dissipation test"""
    logistic_rate: float = 0.5
    """step size on the logistic regression; times 1 - momentum under momentum"""
    decay: float = 0.1
    """L2 penalty of the logistic regression, decay * |params|^2 / 2"""
    noises: tuple[str, ...] = ("non-commuting", "commuting")
    """of the quadratic, the one that makes a current first"""
    losses: tuple[str, ...] = ("quadratic", "logistic")
    """of the fluctuation-dissipation test"""
    samplings: tuple[str, ...] = ("with_replacement", "epoch")
    """of the fluctuation-dissipation test"""
    num_examples: int = 64
    """examples of the quadratic; the iris data have 100"""
    batch_size: int = 8
    """examples in a minibatch; 10 of the iris data"""
    substeps: int = 8
    """microsteps of the SDE in one step"""
    num_cells: int = 20
    """cells along each axis"""
    num_relaxing: int = 200
    """steps before the recorded ones"""
    num_steps: int = 240
    """steps of the fluctuation-dissipation test, a multiple of both epochs, 8 and 10 steps"""
    num_current_steps: int = 1_600
    """steps in which currents are measured"""
    num_chains: int = 2_000
    """independent chains"""
    seed: int = 0


SMOKE = Config(
    noises=("non-commuting",), losses=("quadratic",), samplings=("with_replacement",), num_relaxing=42, num_steps=40,
    num_current_steps=40, num_chains=40,
)  # fmt: skip
DYNAMICS, TURNING = ("SGD", "SDE"), "non-commuting"
LAGS = (1, 2, 4, 8)
STATISTICS = (
    "mean", "covariance", "kurtosis", "cdf_distance", "with_position", "with_square", "spread_with_square",
    "autocorrelation",
)  # fmt: skip
CASE = ("dynamics", "noise")
DIMENSIONS = {
    "angular_momentum": (*CASE, "lag"),
    "angular_momentum_error": (*CASE, "lag"),
    "entropy_production": CASE,
    "entropy_production_error": CASE,
    "density": (*CASE, "cell_1", "cell_2"),
    "current": (*CASE, "cell_1", "cell_2", "component"),
    "current_error": (*CASE, "cell_1", "cell_2", "component"),
    "whitening": (*CASE, "statistic"),
    "whitening_error": (*CASE, "statistic"),
    "ratio": ("loss", "sampling", "momentum"),
    "ratio_error": ("loss", "sampling", "momentum"),
    "num_diverged": ("simulation",),
}


def position(params):
    return params


def gradient_covariance(config, kind):
    correlation = config.correlation if kind == TURNING else 0.0
    return jnp.array([[1.0, correlation], [correlation, 1.0]])


def quadratic(config, kind):
    hessian = jnp.diag(jnp.asarray(config.curvatures, float))
    return landscapes.quadratic(
        hessian, gradient_covariance=gradient_covariance(config, kind), num_examples=config.num_examples
    )


def logistic_loss(params, example):
    inputs, sign = example
    return jax.nn.softplus(-sign * jnp.sum(inputs * params))


def half_square(decay, params):
    return decay * jnp.sum(params**2) / 2


def zeros(params, key):
    return params


def logistic(config):
    """Versicolor against virginica: 100 flowers, four standardised measurements and a constant."""
    from sklearn.datasets import load_iris  # slow to import, and the smoke run does without

    inputs, species = load_iris(return_X_y=True)
    inputs, sign = inputs[species > 0], np.where(species[species > 0] == 1, 1.0, -1.0)
    inputs = np.hstack([(inputs - inputs.mean(axis=0)) / inputs.std(axis=0), np.ones((len(inputs), 1))])
    return Problem(
        logistic_loss,
        (jnp.asarray(inputs, float), jnp.asarray(sign, float)),
        jax.tree_util.Partial(zeros, jnp.zeros(5)),
        penalty=jax.tree_util.Partial(half_square, config.decay),
    )


def records(config, dynamics, key, num_steps):
    """Consecutive positions of stationary chains, (num_steps + 2, num_chains, d), and how many diverged."""
    start = jnp.zeros(dynamics.problem.params_like.shape)
    num_steps += config.num_relaxing + 2
    sizes = {"num_steps": num_steps, "num_chains": config.num_chains, "observe": position, "every": 1}
    found = simulate(dynamics, start, key, **sizes)
    return found.observed[config.num_relaxing :], jnp.sum(found.diverged_at >= 0)


def descent(problem, rate, batch_size, sampling, momentum):
    """Momentum is an array also where it is 0: one compiled loop for all."""
    return sgd(
        problem, learning_rate=rate, batch_size=batch_size, sampling=sampling, momentum=jnp.asarray(momentum, float)
    )


def edges(config, kind):
    """Cells over 2.8 standard deviations of SGD's own law."""
    return tuple(2.8 * jnp.sqrt(step_law(config, kind, "SGD")[2][i, i]) * cells(config) for i in range(2))


def cells(config):
    return jnp.asarray(np.linspace(-1, 1, config.num_cells + 1), float)


def step_law(config, kind, name):
    """(A, Q, S) of x' = A x + N(0, Q) over one learning-rate step, with the covariance S: SGD's own, or that of m
    Euler substeps, which is SGD at the rate eta/m with m times the covariance, m steps."""
    m = 1 if name == "SGD" else config.substeps
    curvatures = jnp.asarray(config.curvatures, float)
    covariance = m * gradient_covariance(config, kind) / config.batch_size
    stationary = sgd_covariance(jnp.diag(curvatures), covariance, learning_rate=config.learning_rate / m)
    decay = (1 - config.learning_rate / m * curvatures) ** m
    return jnp.diag(decay), stationary * (1 - decay[:, None] * decay[None, :]), stationary


@jax.jit
def diagnosed(seen, bounds, diffusion, law, rate):
    """All that is kept of one quadratic's records."""
    kept = len(seen) - max(LAGS)
    turning = [angular_momentum(seen[:kept], seen[lag : lag + kept], lag=lag * rate) for lag in LAGS]
    field = probability_current(seen[:-1], seen[1:], bounds, lag=rate, num_groups=40)
    entropy, entropy_error = entropy_production(field, diffusion)
    transfer, noise_of_step, _ = law
    moved = jnp.einsum("rni,ij->rnj", seen[:-1], transfer, precision="highest") - seen[:-1]
    whitened = whitened_increments(seen[:-1], seen[1:], step_mean=moved, step_covariance=noise_of_step)
    test = increment_test(seen[:-1], whitened)
    worst = [largest(*getattr(test, statistic)) for statistic in STATISTICS]
    return {
        "angular_momentum": jnp.stack([value[0, 1] for value, _ in turning]),
        "angular_momentum_error": jnp.stack([error[0, 1] for _, error in turning]),
        "entropy_production": entropy,
        "entropy_production_error": entropy_error,
        "density": field.density,
        "current": field.current,
        "current_error": field.current_error,
        "whitening": jnp.stack([value for value, _ in worst]),
        "whitening_error": jnp.stack([error for _, error in worst]),
    }


def largest(estimates, errors):
    """The entry that is most standard errors from 0."""
    index = jnp.argmax(jnp.abs(estimates.ravel() / errors.ravel()))
    return estimates.ravel()[index], errors.ravel()[index]


@jax.jit
def ratio(rate, momentum, seen):
    seen = seen - seen.mean(axis=(0, 1), keepdims=True)  # any centre will do, the middle has the smallest errors
    positions, gradients, buffers = minibatch_gradients(seen, learning_rate=rate, momentum=momentum)
    return fluctuation_dissipation_ratio(positions, gradients, learning_rate=rate, momentum=momentum, buffers=buffers)


def fluctuation_settings(config):
    """(problem, learning rate, batch size, sampling, momentum) of every fluctuation-dissipation test."""
    problems = {"quadratic": quadratic(config, TURNING)}
    if "logistic" in config.losses:
        problems["logistic"] = logistic(config)
    for loss in config.losses:
        for sampling in config.samplings:
            for momentum in (0.0, config.momentum):
                rate = config.learning_rate if loss == "quadratic" else config.logistic_rate * (1 - momentum)
                yield problems[loss], rate, config.batch_size if loss == "quadratic" else 10, sampling, momentum


def run(config, key):
    cases, ratios, diverged = {}, [], []
    for kind in config.noises:
        problem, covariance = quadratic(config, kind), gradient_covariance(config, kind) / config.batch_size
        walk = descent(problem, config.learning_rate, config.batch_size, "with_replacement", 0.0)
        options = {"learning_rate": config.learning_rate, "substeps": config.substeps}
        diffusion = euler_maruyama(problem, noise.constant(problem, covariance=covariance), **options)
        for name, dynamics in zip(DYNAMICS, (walk, diffusion)):
            own_key = jax.random.fold_in(key, len(diverged))
            seen, lost = records(config, dynamics, own_key, config.num_current_steps)
            law, bounds = step_law(config, kind, name), edges(config, kind)
            cases[name, kind] = seen, bounds, config.learning_rate * covariance / 2, law
            diverged.append(lost)
    for problem, rate, batch_size, sampling, momentum in fluctuation_settings(config):
        own_key = jax.random.fold_in(key, len(diverged))
        dynamics = descent(problem, rate, batch_size, sampling, momentum)
        seen, lost = records(config, dynamics, own_key, config.num_steps)
        ratios.append(ratio(rate, momentum, seen))
        diverged.append(lost)
    together = jax.tree.map(
        lambda *leaves: jnp.stack(leaves), *[cases[name, kind] for name in DYNAMICS for kind in config.noises]
    )
    rows = jax.lax.map(lambda case: diagnosed(*case, config.learning_rate), together)
    table = {name: value.reshape(2, -1, *value.shape[1:]) for name, value in rows.items()}
    shape = (len(config.losses), len(config.samplings), 2)
    found, errors = (jnp.stack(values).reshape(shape) for values in zip(*ratios))
    return {**table, "ratio": found, "ratio_error": errors, "num_diverged": jnp.stack(diverged)}


def exact_arguments(config, kind, name, lag=1):
    """The arguments with which `sgd_angular_momentum` and the like predict what is measured at a lag of some steps."""
    m = 1 if name == "SGD" else config.substeps
    covariance = m * np.asarray(gradient_covariance(config, kind), float) / config.batch_size
    options = {"learning_rate": float(config.learning_rate) / m, "num_steps": m * lag}
    return (np.diag(np.asarray(config.curvatures, float)), covariance), options


@functools.cache  # the checks and the figure both ask
def exact_turning(config, kind, name, lag):
    matrices, options = exact_arguments(config, kind, name, lag)
    return float(sgd_angular_momentum(*matrices, **options)[0, 1])


@functools.cache
def exact_field(config, kind, name):
    """Density and current averaged over each cell, by Gauss-Legendre quadrature, and the area of the cells."""
    nodes, weights = np.polynomial.legendre.leggauss(4)
    bounds = [np.asarray(edge, float) for edge in edges(config, kind)]
    points = [(b[1:, None] + b[:-1, None]) / 2 + np.diff(b)[:, None] / 2 * nodes for b in bounds]
    grid = np.stack(np.meshgrid(points[0].ravel(), points[1].ravel(), indexing="ij"), axis=-1)
    matrices, options = exact_arguments(config, kind, name)
    average = lambda values: np.einsum("iajb...,a,b->ij...", values, weights / 2, weights / 2)
    size = config.num_cells
    density, current = (np.asarray(values, float) for values in sgd_current(grid, *matrices, **options))
    shape = (size, len(nodes), size, len(nodes))
    areas = np.outer(*(np.diff(b) for b in bounds))
    return average(density.reshape(shape)), average(current.reshape(*shape, 2)), areas


@functools.cache
def exact_entropy(config, kind, name):
    """Of the current averaged over each cell, and that of the whole plane, with D = eta C/2 in both."""
    density, current, areas = exact_field(config, kind, name)
    covariance = np.asarray(gradient_covariance(config, kind), float) / config.batch_size
    inverse = np.linalg.inv(config.learning_rate * covariance / 2)
    matrices, options = exact_arguments(config, kind, name)
    whole = float(sgd_entropy_production(*matrices, **options))  # D of the microsteps is (eta/m) (m C)/2, the same
    return np.sum(areas * np.einsum("abi,ij,abj->ab", current, inverse, current) / density), whole


def checks(config, arrays):
    found, yaida, chaudhari = [], "Yaida 2018", "Chaudhari and Soatto 2018; [H, S] of the discrete law"
    for i, loss in enumerate(config.losses):
        for j, sampling in enumerate(config.samplings):
            for k, momentum in enumerate((0.0, config.momentum)):
                label = f"fluctuation-dissipation: {loss}, {sampling.replace('_', ' ')}, momentum {momentum:g}"
                value, error = arrays["ratio"][i, j, k], arrays["ratio_error"][i, j, k]
                tolerance = 0.0049 if sampling == "epoch" else 0.006
                found.append(Check(label, value, 1, error, tolerance, "agree", yaida))
    for i, name in enumerate(DYNAMICS):
        for j, kind in enumerate(config.noises):
            for k, lag in enumerate(LAGS):
                scale = exact_turning(config, TURNING, name, lag)
                tolerance = {1: 0.016, 2: 0.018, 4: 0.025}.get(lag, 0.045)
                predicted, tolerance = (scale, tolerance) if kind == TURNING else (0, tolerance * abs(scale))
                label = f"{name}, {kind}: angular momentum at lag {lag}"
                measured, error = arrays["angular_momentum"][i, j, k], arrays["angular_momentum_error"][i, j, k]
                found.append(Check(label, measured, predicted, error, tolerance, "agree", chaudhari))
            predicted, _ = exact_entropy(config, kind, name)
            scale, whole = exact_entropy(config, TURNING, name)
            measured, error = arrays["entropy_production"][i, j], arrays["entropy_production_error"][i, j]
            tolerance = 0.024 if kind == TURNING else 0.002 * scale
            source = "integral of J^T D^-1 J/p over the same cells"
            predicted = predicted if kind == TURNING else 0
            found.append(
                Check(f"{name}, {kind}: entropy production", measured, predicted, error, tolerance, "agree", source)
            )
            if kind == TURNING:
                label = f"{name}, {kind}: entropy production seen by the cells, of the whole plane's"
                source = "sgd_entropy_production of the plane"
                found.append(Check(label, predicted / whole, 1, 0, 0.03, "agree", source))
            found += whitening_checks(arrays, i, j, f"{name}, {kind}")
    found.append(Check("chains diverged", arrays["num_diverged"].sum(), 0, 0, 0, "agree", "none may"))
    return found


def whitening_checks(arrays, i, j, label):
    """Gaussian increments for the SDE; for SGD its first two moments, their independence of x, and no memory: a
    minibatch of 8 examples is not Gaussian."""
    found = []
    for k, statistic in enumerate(STATISTICS):
        if label.startswith("SGD") and statistic in ("kurtosis", "cdf_distance"):
            continue
        value, error = arrays["whitening"][i, j, k], arrays["whitening_error"][i, j, k]
        words, tolerance = statistic.replace("_", " "), 0.04 if statistic == "kurtosis" else 0.0055
        source = "x' = A x + N(0, S - A S A^T), steps independent"
        found.append(Check(f"{label}: increments, {words}", value, 0, error, tolerance, "agree", source))
    return found


def plot(config, arrays):
    figure, axes = style.figure(2, 2, width=9.4, height=7.4)
    field_panel(axes[0, 0], config, arrays, figure)
    ratio_panel(axes[0, 1], config, arrays)
    lag_panel(axes[1, 0], config, arrays)
    entropy_panel(axes[1, 1], config, arrays)
    words = "bars: 5.9 standard errors, in (c) one; (a): beyond the third line few chains are"
    figure.supxlabel(words, fontsize=8)
    return figure


def field_panel(panel, config, arrays, figure):
    """SGD's density, the predicted streamlines broad and the measured ones thin, where the density is seen."""
    bounds = [np.asarray(edge, float) for edge in edges(config, TURNING)]
    x, y = ((b[1:] + b[:-1]) / 2 for b in bounds)
    density, current = arrays["density"][0, 0], arrays["current"][0, 0]
    image = panel.pcolormesh(*bounds, density.T, cmap="Blues", rasterized=True)
    figure.colorbar(image, ax=panel, label="density of SGD", pad=0.02)
    exact_density, flow, _ = exact_field(config, TURNING, "SGD")
    seen = exact_density > 0.015 * exact_density.max()
    hide = lambda values: np.where(seen[..., None], values, np.nan)
    for values, look in (
        (flow, {"color": style.COLOURS["theory"], "linewidth": 3.5, "arrowsize": 0.01}),
        (current, {"color": "black", "linewidth": 0.9}),
    ):
        for radius in (0.15, 0.28, 0.41, 0.54):  # one turn each, from the left
            panel.streamplot(
                x, y, *np.moveaxis(hide(values), -1, 0).swapaxes(1, 2), start_points=[(-radius * x[-1], 0.0)],
                maxlength=4.0 * radius, broken_streamlines=False, integration_direction="forward", **look,
            )  # fmt: skip
    panel.plot([], [], color=style.COLOURS["theory"], lw=3.5, label="predicted")
    panel.plot([], [], color="black", lw=0.9, label="measured")
    panel.set(xlabel="$x_1$ (steep)", ylabel="$x_2$ (flat)", xlim=bounds[0][[0, -1]], ylim=bounds[1][[0, -1]])
    panel.set_title("(a) H and C do not commute: a current")
    panel.legend(loc="upper left", frameon=True)


def ratio_panel(panel, config, arrays):
    panel.axvspan(0.995, 1.005, color=style.COLOURS["theory"], alpha=0.2, lw=0, label="1 ± 0.5 %")
    labels = []
    for i, loss in enumerate(config.losses):
        for j, sampling in enumerate(config.samplings):
            for k, momentum in enumerate((0.0, config.momentum)):
                look = {"color": "black", "marker": "os"[k], "markerfacecolor": ("black", "white")[k]}
                panel.errorbar(arrays["ratio"][i, j, k], len(labels), xerr=5.9 * arrays["ratio_error"][i, j, k], **look)
                labels.append(f"{loss}, momentum {momentum:g},\n{sampling.replace('_', ' ')}")
    panel.set_yticks(range(len(labels)), labels)
    panel.set(
        xlim=(0.99, 1.01), ylim=(len(labels) + 0.9, -1), title="(b) fluctuation-dissipation ratio",
        xlabel=r"$E[x\cdot g]\,/\,(\eta(1 + \mu)/2)\,E|m'|^2$",
    )  # fmt: skip
    panel.set_xticks([0.99, 0.995, 1, 1.005, 1.01], ["0.99", "0.995", "1", "1.005", "1.01"])
    panel.legend(loc="lower right")


def lag_panel(panel, config, arrays):
    fine = range(1, max(LAGS) + 1) if config.num_chains > 100 else LAGS
    for i, (name, colour) in enumerate(zip(DYNAMICS, ("SGD", "anisotropic"))):
        for j, kind in enumerate(config.noises):
            predicted = [exact_turning(config, kind, name, lag) for lag in fine]
            panel.plot(fine, predicted, color=style.COLOURS[colour], ls=("-", "--")[j])
            panel.errorbar(
                LAGS, arrays["angular_momentum"][i, j], arrays["angular_momentum_error"][i, j],
                color=style.COLOURS[colour], marker="o^"[i], ls="none",
                markerfacecolor="white" if j else style.COLOURS[colour], label=f"{name}, {kind}",
            )  # fmt: skip
    panel.set(
        xlabel="lag, steps", ylabel="angular momentum $E[x_1 dx_2 - x_2 dx_1]/dt$",
        title="(c) at a finite lag it shrinks as predicted",
    )  # fmt: skip
    panel.legend()


def entropy_panel(panel, config, arrays):
    labels = []
    for i, name in enumerate(DYNAMICS):
        for j, kind in enumerate(config.noises):
            place, (cells, whole) = len(labels), exact_entropy(config, kind, name)
            panel.errorbar(
                place, arrays["entropy_production"][i, j], 5.9 * arrays["entropy_production_error"][i, j],
                color="black", marker="o", ls="none", label=None if place else "measured",
            )  # fmt: skip
            panel.hlines(cells, place - 0.3, place + 0.3, color=style.COLOURS["theory"],
                         label=None if place else "predicted on the same cells")  # fmt: skip
            panel.hlines(whole, place - 0.3, place + 0.3, color=style.COLOURS["gibbs"], ls="--",
                         label=None if place else "predicted for the plane")  # fmt: skip
            labels.append("\n".join((name, *kind.split("-"))))
    panel.set_xticks(range(len(labels)), labels)
    panel.set(ylabel="entropy production, per unit time", title="(d) entropy is produced where a current flows")
    panel.legend(loc="upper right", bbox_to_anchor=(1.0, 0.9))
