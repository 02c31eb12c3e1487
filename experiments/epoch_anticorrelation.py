"""Reshuffled epochs anti-correlate SGD's noise and shrink its variance in flat directions, but not in steep ones.

The minibatches of one epoch are disjoint, so that their noise sums to zero. In directions that relax faster than an
epoch nothing is felt of it: the variance is eta C/(h (2 - eta h)), as for independent minibatches. In flatter ones it
stops growing, at eta^2 C (M + 1)/6 with M minibatches an epoch; the crossover is near h = 3 (1 - mu)/(eta (M + 1)). And
the variance depends on where in an epoch one looks: at its boundaries it is smaller by orders of magnitude.

A diagonal quadratic with fixed example gradients, twelve curvatures over three decades. Flat directions, where
successive epochs are correlated, have several coordinates of equal curvature with uncorrelated example gradients: they
count as further samples within a chain, and standard errors come from groups of independent chains. All start at 0 and
relax for 60 epochs, 11 relaxation times of the flattest variance (a remainder of 1e-5).

Source: Kuehn and Rosenow 2023 (arXiv 2306.05300), their flat limit and crossover; the exact discrete law, phase by
phase and with momentum, is `predictions.epoch_covariance`.
Command: `sgdsde reproduce epoch_anticorrelation`, about 2 minutes on two cores. One should see: every variance within
2 % of the exact law at every phase; the flattest direction, without momentum, 31 times below independent sampling on
average and 1,200 times at the boundary of an epoch.
"""

import dataclasses
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from sgdsde import Check, landscapes, sgd, simulate, style
from sgdsde.dynamics.contract import State
from sgdsde.dynamics.minibatch import SGD
from sgdsde.predictions import epoch_covariance, epoch_noise_autocovariance, sgd_covariance
from sgdsde.pytrees import pytree


@dataclass(frozen=True)
class Config:
    learning_rate: float = 0.1
    """step size"""
    momenta: tuple[float, ...] = (0.0, 0.9)
    """heavy-ball momenta"""
    smallest_curvature: float = 0.0195
    """of the flattest direction"""
    decades: float = 3.0
    """from the flattest to the steepest direction; learning rate x largest curvature stays below 2"""
    copies: tuple[int, ...] = (26, 15, 9, 6, 4, 3, 3, 3, 3, 3, 3, 3)
    """coordinates of each curvature, from flat to steep"""
    num_examples: int = 1_000
    """examples"""
    batch_size: int = 20
    """examples in a minibatch"""
    samplings: tuple[str, ...] = ("with_replacement", "without_replacement")
    """the independent minibatches that are compared"""
    num_epochs: int = 220
    """recorded epochs of each chain"""
    num_relaxing: int = 60
    """epochs before them"""
    num_chains: int = 500
    """independent chains"""
    num_groups: int = 100
    """groups of chains whose second moments are kept"""
    seed: int = 0


SMOKE = Config(
    copies=(10, 10, 10), samplings=("without_replacement",), num_epochs=2, num_relaxing=2, num_chains=20, num_groups=10
)
NUM_WITNESSES = 4
"""coordinates, the steepest, whose noise is measured"""
DIMENSIONS = {
    "epoch": ("momentum", "group", "phase", "curvature"),
    "independent": ("sampling", "momentum", "group", "curvature"),
    "noise_autocovariance": ("momentum", "group", "lag"),
    "num_diverged": ("simulation",),
}


def curvatures(config):
    return config.smallest_curvature * 10.0 ** (config.decades * np.linspace(0, 1, len(config.copies)))


def noise_variance(config):
    """C of one minibatch without replacement, Sigma = 1."""
    return (config.num_examples - config.batch_size) / (config.batch_size * (config.num_examples - 1))


@pytree()
class Watched:
    """SGD under epoch sampling that keeps, in its memory, the sums of what is looked at in every phase of an epoch
    (a record at every step would draw the epoch again), and those of products of the witnesses' noise."""

    sgd: SGD
    membership: jax.Array
    witness_curvatures: jax.Array

    problem = property(lambda self: self.sgd.problem)
    period = property(lambda self: self.sgd.period)
    substeps = property(lambda self: self.sgd.substeps)
    batch_size = property(lambda self: self.sgd.batch_size)
    variates = property(lambda self: self.sgd.variates)

    def arrange(self, numbers):
        return self.sgd.arrange(numbers)

    def draw(self, key, step, substep):
        return self.sgd.draw(key, step, substep)

    def duration(self, step):
        return self.sgd.duration(step)

    def init(self, params):
        sums = jnp.zeros((self.period, len(self.membership)), params.dtype)
        noise = jnp.zeros((self.period, NUM_WITNESSES), params.dtype)
        return State(params, (self.sgd.init(params).memory, sums, noise, jnp.zeros(self.period, params.dtype)))

    def advance(self, state, draws, step):
        buffer, sums, noise, products = state.memory
        after = self.sgd.advance(State(state.params, buffer), draws, step)
        phase = step % jnp.int32(self.period)
        sums = sums.at[phase].add(mean_squares(self.membership, state.params))
        gradient = (after.memory - self.sgd.momentum * buffer)[-NUM_WITNESSES:]
        latest = gradient - self.witness_curvatures * state.params[-NUM_WITNESSES:]
        noise = noise.at[phase].set(latest)
        lags = (phase - jnp.arange(self.period, dtype=jnp.int32)) % jnp.int32(self.period)
        products = products + jnp.mean(noise * latest[None], axis=1)[lags]
        return State(after.params, (after.memory, sums, noise, products))


def mean_squares(membership, params):
    """Mean square of the coordinates of each curvature."""
    return jnp.matmul(membership, params**2, precision="highest")


def nothing(params):
    return ()


def grouped(config, values):
    """Averages over the chains of each group; values (num_chains, ...) -> (num_groups, ...)."""
    return values.reshape(config.num_groups, -1, *values.shape[1:]).mean(axis=1)


def run(config, key):
    place = np.repeat(np.arange(len(config.copies)), config.copies)
    membership = (place[None, :] == np.arange(len(config.copies))[:, None]) / np.array(config.copies)[:, None]
    membership = jnp.asarray(membership, float)
    hessian = jnp.asarray(curvatures(config)[place], float)
    problem = landscapes.quadratic(
        jnp.diag(hessian), gradient_covariance=jnp.eye(len(place)), num_examples=config.num_examples
    )
    period = config.num_examples // config.batch_size
    relaxing, recorded = config.num_relaxing * period, config.num_epochs * period
    sizes = {"num_chains": config.num_chains}

    def dynamics(momentum, sampling):
        return sgd(
            problem, learning_rate=config.learning_rate, batch_size=config.batch_size, sampling=sampling,
            momentum=jnp.asarray(momentum, float),
        )  # fmt: skip

    epochs, noise, diverged = [], [], []
    for momentum in config.momenta:
        watched = Watched(dynamics(momentum, "epoch"), membership, hessian[-NUM_WITNESSES:])
        options = {"key": jax.random.fold_in(key, len(diverged)), "observe": nothing, **sizes}
        relaxed = simulate(watched, jnp.zeros(len(place)), num_steps=relaxing, every=relaxing, **options)
        buffer, sums, latest, products = relaxed.state.memory
        memory = buffer, jnp.zeros_like(sums), latest, jnp.zeros_like(products)
        relaxed = dataclasses.replace(relaxed, state=State(relaxed.params, memory))
        found = simulate(watched, relaxed, num_steps=recorded, every=recorded, **options)
        _, sums, _, products = found.state.memory
        epochs.append(grouped(config, sums) / config.num_epochs)
        noise.append(grouped(config, products) / recorded)
        diverged.append(jnp.sum(found.diverged_at >= 0))
    independent = []
    for sampling in config.samplings:
        rows = []
        for momentum in config.momenta:
            options = {
                "key": jax.random.fold_in(key, len(diverged)),
                "observe": Partial(mean_squares, membership),
                **sizes,
            }
            options |= {"every": period, "num_steps": (config.num_relaxing + config.num_epochs) * period}
            found = simulate(dynamics(momentum, sampling), jnp.zeros(len(place)), **options)
            rows.append(grouped(config, found.observed[config.num_relaxing :].mean(axis=0)))
            diverged.append(jnp.sum(found.diverged_at >= 0))
        independent.append(jnp.stack(rows))
    return {
        "epoch": jnp.stack(epochs),
        "independent": jnp.stack(independent),
        "noise_autocovariance": jnp.stack(noise),
        "num_diverged": jnp.stack(diverged),
    }


def statistics(groups, axis=0):
    """Mean and standard error over independent groups."""
    groups = np.asarray(groups, float)
    return groups.mean(axis=axis), groups.std(axis=axis, ddof=1) / np.sqrt(groups.shape[axis])


def exact_epochs(config, momentum, hs=None):
    """The variance at every phase and curvature, (phase, curvature)."""
    options = {"num_examples": config.num_examples, "batch_size": config.batch_size, "momentum": float(momentum)}
    rate, hs = float(config.learning_rate), curvatures(config) if hs is None else hs
    return np.stack([epoch_covariance(h, 1.0, learning_rate=rate, **options)[:, 0, 0] for h in hs], axis=1)


def exact_independent(config, momentum, sampling, hs=None):
    noise = 1 / config.batch_size if sampling == "with_replacement" else noise_variance(config)
    rate, hs = float(config.learning_rate), curvatures(config) if hs is None else hs
    return np.array([float(sgd_covariance(h, noise, learning_rate=rate, momentum=float(momentum))) for h in hs])


def exact_noise(config):
    options = {"num_examples": config.num_examples, "batch_size": config.batch_size}
    return epoch_noise_autocovariance(1.0, **options)[:, 0, 0]


def crossover(config, momentum):
    period = config.num_examples // config.batch_size
    return 3 * (1 - momentum) / (config.learning_rate * (period + 1))


def worst(mean, error, exact):
    """The largest relative deviation, and the largest relative standard error."""
    deviation = np.ravel(mean / exact - 1)
    return deviation[np.argmax(np.abs(deviation))], np.max(error / exact)


def checks(config, arrays):
    found, hs = [], curvatures(config)
    exact_source, flat_source = "predictions.epoch_covariance (exact)", "Kuehn and Rosenow 2023, flat limit"
    for i, momentum in enumerate(config.momenta):
        exact = exact_epochs(config, momentum)
        phases, phase_errors = statistics(arrays["epoch"][i])
        averages, errors = statistics(arrays["epoch"][i].mean(axis=1))
        for j, h in enumerate(hs):
            label = f"momentum {momentum:g}, curvature {h:.3g}"
            found.append(
                Check(f"{label}: averaged variance", averages[j], exact[:, j].mean(), errors[j], 0.02, "agree",
                      exact_source)
            )  # fmt: skip
            measured, error = worst(phases[:, j], phase_errors[:, j], exact[:, j])
            found.append(Check(f"{label}: worst phase, relative", measured, 0, error, 0.02, "agree", exact_source))
        for sampling, groups in zip(config.samplings, arrays["independent"][:, i]):
            own = exact_independent(config, momentum, sampling)
            measured, error = worst(*statistics(groups), own)
            label = f"momentum {momentum:g}, {sampling.replace('_', ' ')}: worst curvature, relative"
            found.append(Check(label, measured, 0, error, 0.02, "agree", "predictions.sgd_covariance (exact)"))
        own = exact_independent(config, momentum, "without_replacement")
        label = f"momentum {momentum:g}: epochs over independent, "
        ratios, ratio_errors = averages / own, errors / own
        found.append(Check(f"{label}flattest", ratios[0], 0.3, ratio_errors[0], 0, "below", flat_source))
        found.append(Check(f"{label}steepest", ratios[-1], 0.9, ratio_errors[-1], 0, "above", flat_source))
        boundary, error = phases[0, 0] / averages[0], phase_errors[0, 0] / averages[0]
        label = f"momentum {momentum:g}: flattest, boundary of an epoch over average"
        found.append(Check(label, boundary, 0.5, error, 0, "below", flat_source))
        groups = np.asarray(arrays["epoch"][i], float).mean(axis=1) / own
        measured, error = halving(hs, groups)
        predicted, _ = halving(hs, np.stack([exact.mean(axis=0) / own] * 3))
        label = f"momentum {momentum:g}: curvature where epochs halve the variance"
        found.append(Check(label, measured, predicted, error, 0.05, "agree", exact_source))
    found.append(crossing_check(config, arrays))
    found += noise_checks(config, arrays)
    found.append(Check("chains diverged", arrays["num_diverged"].sum(), 0, 0, 0, "agree", "none may"))
    return found


def halving(hs, groups):
    """Curvature at which the ratio of variances passes 1/2, by interpolation in log h; jackknife over groups."""
    total = groups.sum(axis=0)
    at = lambda ratio: np.exp(np.interp(0.5, np.maximum.accumulate(ratio), np.log(hs)))
    left_out = np.array([at((total - each) / (len(groups) - 1)) for each in groups])
    error = np.sqrt((len(groups) - 1) * np.mean((left_out - left_out.mean()) ** 2))
    return at(total / len(groups)), error


def crossing_check(config, arrays):
    """Where the plateau, as measured in the flattest direction without momentum, meets the law of independent noise."""
    mean, error = statistics(arrays["epoch"][0].mean(axis=1))
    measured = config.learning_rate * noise_variance(config) / (2 * mean[0])
    return Check(
        "crossover curvature, momentum 0", measured, crossover(config, 0.0), measured * error[0] / mean[0], 0.1,
        "agree", "Kuehn and Rosenow 2023: 3/(eta (M + 1)), where eta^2 C (M + 1)/6 = eta C/(2 h)",
    )  # fmt: skip


def noise_checks(config, arrays):
    exact, found = exact_noise(config), []
    source = "predictions.epoch_noise_autocovariance: -C (M - j)/(M (M - 1))"
    shape = exact[1:] / np.sum(exact[1:] ** 2)
    for momentum, each in zip(config.momenta, arrays["noise_autocovariance"]):
        groups, label = np.asarray(each, float), f"noise, momentum {momentum:g}"
        variance, error = statistics(groups[:, 0])
        found.append(Check(f"{label}: variance of one step", variance, exact[0], error, 0.02, "agree", source))
        measured, error = statistics(groups[:, 1:] @ shape)
        found.append(Check(f"{label}: size of the anti-correlation", measured, 1, error, 0.02, "agree", source))
        mean, error = statistics(groups[:, 1:])
        deviation = (mean - exact[1:]) / exact[0]
        deviation, error = deviation[np.argmax(np.abs(deviation))], error.max() / exact[0]
        found.append(Check(f"{label}: worst lag, over C", deviation, 0, error, 0.005, "agree", source))
        measured, error = statistics((groups[:, 0] + 2 * groups[:, 1:].sum(axis=1)) / exact[0])
        source_of_sum = "the noise of an epoch sums to zero"
        found.append(Check(f"{label}: sum over all lags, over C", measured, 0, error, 0.02, "agree", source_of_sum))
    return found


def plot(config, arrays):
    figure, axes = style.figure(2, 2, width=10.0, height=7.2)
    variance_panel(axes[0, 0], config, arrays)
    phase_panel(axes[0, 1], config, arrays)
    noise_panel(axes[1, 0], config, arrays)
    deviation_panel(axes[1, 1], config, arrays)
    return figure


COLOURS = [style.COLOURS[name] for name in ("SGD", "anisotropic", "isotropic", "levy")]


def variance_panel(panel, config, arrays):
    hs = curvatures(config)
    fine = np.geomspace(hs[0], hs[-1], 80)
    for i, (momentum, colour) in enumerate(zip(config.momenta, COLOURS)):
        mean, error = statistics(arrays["epoch"][i].mean(axis=1))
        own, own_error = statistics(arrays["independent"][-1, i])
        panel.plot(fine, exact_epochs(config, momentum, fine).mean(axis=0), color=colour)
        panel.plot(fine, exact_independent(config, momentum, "without_replacement", fine), color=colour, ls="--", lw=1)
        panel.errorbar(hs, mean, error, color=colour, marker="o", ls="none", label=f"epochs, momentum {momentum:g}")
        panel.errorbar(
            hs, own, own_error, color=colour, marker="s", markerfacecolor="white", ls="none",
            label=f"independent, momentum {momentum:g}",
        )  # fmt: skip
        panel.axvline(crossover(config, momentum), color=colour, ls=":", lw=1)
    panel.plot([], [], color="grey", ls="-", label="exact law, epochs")
    panel.plot([], [], color="grey", ls="--", lw=1, label="exact law, independent")
    panel.plot([], [], color="grey", ls=":", lw=1, label=r"$h = 3 (1 - \mu)/(\eta (M + 1))$")
    panel.set(
        xscale="log", yscale="log", xlabel="curvature h", ylabel="variance, averaged over an epoch",
        title="(a) epochs stop the growth towards flat directions",
    )  # fmt: skip
    panel.legend(fontsize=7)


def phase_panel(panel, config, arrays):
    hs, last = curvatures(config), len(config.copies) - 1
    chosen = sorted({0, round(0.3 * last), round(0.5 * last), last})
    own, exact = exact_independent(config, config.momenta[0], "without_replacement"), exact_epochs(config, 0.0)
    mean, error = statistics(arrays["epoch"][0])
    for j, colour in zip(chosen, COLOURS):
        panel.plot(exact[:, j] / own[j], color=colour)
        panel.errorbar(
            np.arange(len(mean)), mean[:, j] / own[j], error[:, j] / own[j], color=colour, marker="o", markersize=2.5,
            ls="none", label=f"h = {hs[j]:.2g}",
        )  # fmt: skip
    panel.set(
        yscale="log", xlabel="phase k, steps since the beginning of an epoch",
        ylabel="variance / that of independent minibatches", title="(b) phase by phase, momentum 0 (lines: exact law)",
    )  # fmt: skip
    panel.legend(ncols=2)


def noise_panel(panel, config, arrays):
    exact = exact_noise(config)
    mean, error = statistics(arrays["noise_autocovariance"][0])
    lags = np.arange(1, len(exact))
    panel.axhline(0, color="grey", lw=0.8)
    panel.errorbar(
        lags, mean[1:] / exact[0], error[1:] / exact[0], color=COLOURS[0], marker="o", markersize=2.5, ls="none",
        label="measured, momentum 0",
    )  # fmt: skip
    panel.plot(lags, exact[1:] / exact[0], **style.line("theory"), label="$-(M - j)/(M (M - 1))$")
    panel.set(
        xlabel="lag j, steps", ylabel="autocorrelation of the gradient noise",
        title="(c) the noise of an epoch sums to zero",
    )  # fmt: skip
    panel.legend()


def deviation_panel(panel, config, arrays):
    hs = curvatures(config)
    panel.axhspan(-2, 2, color=style.COLOURS["theory"], alpha=0.2, lw=0, label="exact law ± 2 %")
    for i, (momentum, colour) in enumerate(zip(config.momenta, COLOURS)):
        exact = exact_epochs(config, momentum)
        mean, error = statistics(arrays["epoch"][i])
        deviation = 100 * (mean / exact - 1)
        panel.plot(
            np.tile(hs * 1.06 ** (2 * i - 1), len(deviation)), deviation.ravel(), ".", color=colour, markersize=1.5,
            label=f"each phase, momentum {momentum:g}",
        )  # fmt: skip
        mean, error = statistics(arrays["epoch"][i].mean(axis=1))
        total = exact.mean(axis=0)
        panel.errorbar(
            hs * 1.12 ** (2 * i - 1), 100 * (mean / total - 1), 590 * error / total, color=colour, marker="o",
            ls="none", label=f"averaged, momentum {momentum:g}",
        )  # fmt: skip
    panel.set(
        xscale="log", ylim=(-3, 4.5), xlabel="curvature h", ylabel="deviation, % (bars: 5.9 standard errors)",
        title="(d) measured over exact variance",
    )  # fmt: skip
    panel.legend(ncols=2)
