"""Reshuffled epochs anti-correlate SGD's noise and shrink its variance in flat directions, not in the steepest.

The minibatches of one epoch are disjoint, so that their noise sums to zero. In directions that relax many times faster
than an epoch little is felt of it: the variance is near that of independent minibatches, eta C/(h (2 - eta h)), and in
the steepest slightly above that of minibatches each drawn without replacement. In flatter ones it stops growing
(without momentum), at eta^2 C (M + 1)/6 with M minibatches an epoch; the crossover is near h = 3 (1 - mu)/(eta
(M + 1)). And the variance depends on where in an epoch one looks: in the flattest direction it is smallest at the
boundaries without momentum, not with momentum 0.9.

A diagonal quadratic with fixed example gradients, twelve curvatures over three decades. Flat directions, where
successive epochs are correlated, have several coordinates of equal curvature with uncorrelated example gradients: they
count as further samples within a chain, and standard errors come from groups of independent chains. All start at 0 and
relax for 60 epochs, 11 relaxation times of the flattest variance (a remainder of 1e-5).

Source: Kuehn and Rosenow 2023 (arXiv 2306.05300), their flat limit and crossover; the exact discrete law, phase by
phase and with momentum, is `predictions.epoch_covariance`.
Command: `sgdsde reproduce epoch_anticorrelation`.

What it does not say: one quadratic with noise that does not depend on the position, 1,000 examples and minibatches of
20 that divide them, two momenta, 500 chains from one seed. The factors are those of the flattest of our twelve
curvatures, 0.0195 at rate 0.1: in flatter directions the boundary's goes on growing like 1/h^2, the average's like 1/h.
At that curvature the plateau is a little below Kuehn and Rosenow's flat limit, so that the crossover read off from it
lies as far above 3/(eta (M + 1)); it is compared with the exact law's. "Worst phase" and "worst curvature" are the
largest of up to 50 deviations. Under momentum 0.9 the factors are smaller (5.5 and 14.7 by the exact law).
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

SEE = """Without momentum, sampling by epochs makes the variance of the flattest direction {momentum 0: independent over
epochs, flattest, average} times smaller than independent minibatches, each drawn without replacement, do on average
over an epoch, and {momentum 0: independent over epochs, flattest, boundary} times smaller at an epoch's end; in the
steepest direction epochs make it slightly larger, {momentum 0: epochs over independent, steepest | predicted} times by
the exact law (met within {momentum 0: epochs over independent, steepest | within})."""


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
    found, hs, exact_source = [], curvatures(config), "predictions.epoch_covariance (exact)"
    for i, momentum in enumerate(config.momenta):
        exact = exact_epochs(config, momentum)
        phases, phase_errors = statistics(arrays["epoch"][i])
        averages, errors = statistics(arrays["epoch"][i].mean(axis=1))
        for j, h in enumerate(hs):
            label = f"momentum {momentum:g}, curvature {h:.3g}"
            found.append(
                Check(f"{label}: averaged variance", averages[j], exact[:, j].mean(), errors[j], 0.012, "agree",
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
        for place, part, mean, error, law in (
            ("average", 0.0045, averages[0], errors[0], exact[:, 0].mean()),
            ("boundary", 0.016, phases[0, 0], phase_errors[0, 0], exact[0, 0]),
        ):
            label = f"momentum {momentum:g}: independent over epochs, flattest, {place}"
            factor, error = own[0] / mean, own[0] * error / mean**2
            found.append(Check(label, factor, own[0] / law, error, part, "agree", exact_source))
        least = 1 + np.argmin(exact[1:, 0])  # the phase, but for the boundary, of the smallest variance
        ratio = phases[0, 0] / phases[least, 0]
        error = ratio * np.hypot(phase_errors[0, 0] / phases[0, 0], phase_errors[least, 0] / phases[least, 0])
        label = f"momentum {momentum:g}: boundary over the smallest variance of the other phases, flattest"
        found.append(Check(label, ratio, 1, error, 0, "above" if momentum else "below", exact_source))
        label = f"momentum {momentum:g}: epochs over independent, steepest"
        known = exact[:, -1].mean() / own[-1]
        ratio, error = averages[-1] / own[-1], errors[-1] / own[-1]
        found.append(Check(label, ratio, known, error, 0.012, "agree", exact_source))
        found.append(Check(f"{label}, over 1", ratio, 1, error, 0, "above", "steps there change their sign"))
        groups = np.asarray(arrays["epoch"][i], float).mean(axis=1) / own
        measured, error = halving(hs, groups)
        predicted, _ = halving(hs, np.stack([exact.mean(axis=0) / own] * 3))
        label = f"momentum {momentum:g}: curvature where epochs halve the variance"
        found.append(Check(label, measured, predicted, error, 0.014, "agree", exact_source))
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
    """Where the plateau, as found in the flattest direction without momentum, meets the law eta C/(2 h) of independent
    minibatches; in Kuehn and Rosenow's flat limit it does so at 3/(eta (M + 1))."""
    mean, error = statistics(arrays["epoch"][0].mean(axis=1))
    meeting = config.learning_rate * noise_variance(config) / 2
    measured, predicted = meeting / mean[0], meeting / exact_epochs(config, 0.0)[:, 0].mean()
    source = "predictions.epoch_covariance (exact); Kuehn and Rosenow 2023: 3/(eta (M + 1)) as h tends to 0"
    return Check(
        "crossover curvature, momentum 0", measured, predicted, measured * error[0] / mean[0], 0.004, "agree", source
    )


def noise_checks(config, arrays):
    exact, found = exact_noise(config), []
    source = "predictions.epoch_noise_autocovariance: -C (M - j)/(M (M - 1))"
    shape = exact[1:] / np.sum(exact[1:] ** 2)
    for momentum, each in zip(config.momenta, arrays["noise_autocovariance"]):
        groups, label = np.asarray(each, float), f"noise, momentum {momentum:g}"
        variance, error = statistics(groups[:, 0])
        found.append(Check(f"{label}: variance of one step", variance, exact[0], error, 0.0022, "agree", source))
        measured, error = statistics(groups[:, 1:] @ shape)
        found.append(Check(f"{label}: size of the anti-correlation", measured, 1, error, 0.006, "agree", source))
        mean, error = statistics(groups[:, 1:])
        deviation = (mean - exact[1:]) / exact[0]
        deviation, error = deviation[np.argmax(np.abs(deviation))], error.max() / exact[0]
        found.append(Check(f"{label}: worst lag, over C", deviation, 0, error, 0.002, "agree", source))
        measured, error = statistics((groups[:, 0] + 2 * groups[:, 1:].sum(axis=1)) / exact[0])
        source_of_sum = "the noise of an epoch sums to zero"
        found.append(Check(f"{label}: sum over all lags, over C", measured, 0, error, 0.006, "agree", source_of_sum))
    return found


def plot(config, arrays):
    figure, axes = style.figure(1, 3, width=12.0, height=4.0)
    variance_panel(axes[0], config, arrays)
    phase_panel(axes[1], config, arrays)
    noise_panel(axes[2], config, arrays)
    figure.supxlabel(
        r"bars: one standard error; $\eta$ learning rate, $\mu$ momentum, M minibatches in an epoch", fontsize=8
    )
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
        panel.errorbar(hs, mean, error, color=colour, marker="o", ls="none", label=rf"epochs, $\mu$ = {momentum:g}")
        panel.errorbar(
            hs, own, own_error, color=colour, marker="s", markerfacecolor="white", ls="none",
            label=rf"independent, $\mu$ = {momentum:g}",
        )  # fmt: skip
        panel.axvline(crossover(config, momentum), color=colour, ls=":", lw=1)
    averages = arrays["epoch"][0].mean(axis=(0, 1))
    own = exact_independent(config, config.momenta[0], "without_replacement")
    span = {"arrowstyle": "<->", "color": "grey"}
    panel.annotate("", (hs[0], averages[0]), (hs[0], own[0]), arrowprops=span)
    panel.annotate(f" {own[0] / averages[0]:.0f} x", (hs[0], np.sqrt(averages[0] * own[0])), va="center")
    panel.plot([], [], color="grey", ls="-", label="exact law, epochs")
    panel.plot([], [], color="grey", ls="--", lw=1, label="exact law, independent")
    panel.plot([], [], color="grey", ls=":", lw=1, label=r"$h = 3 (1 - \mu)/(\eta (M + 1))$")
    panel.set(
        xscale="log", yscale="log", xlabel="curvature h", ylabel="variance, averaged over an epoch",
        title="(a) epochs stop the growth to flat directions",
    )  # fmt: skip
    panel.set_ylim(2e-4, 60)
    panel.legend(ncols=2, columnspacing=0.8, handlelength=1.6, loc="upper center")


def phase_panel(panel, config, arrays):
    hs, last = curvatures(config), len(config.copies) - 1
    chosen = sorted({0, round(0.3 * last), round(0.5 * last), last})
    own, exact = exact_independent(config, config.momenta[0], "without_replacement"), exact_epochs(config, 0.0)
    mean, error = statistics(arrays["epoch"][0])
    panel.axhline(1, color="grey", lw=0.8)
    for j, colour in zip(chosen, COLOURS):
        panel.plot(exact[:, j] / own[j], color=colour)
        panel.errorbar(
            np.arange(len(mean)), mean[:, j] / own[j], error[:, j] / own[j], color=colour, marker="o", markersize=2.5,
            ls="none", label=f"h = {hs[j]:.2g}: {(mean[:, j] / own[j]).mean():.3g} on average",
        )  # fmt: skip
    panel.set(
        yscale="log", ylim=(3e-4, 40), xlabel="phase k, steps since the beginning of an epoch",
        ylabel="variance / that of independent minibatches", title="(b) momentum 0 (lines: exact law)",
    )  # fmt: skip
    factor = round(own[0] / mean[0, 0], -2)
    panel.annotate(f"  1/{factor:,.0f}", (0, mean[0, 0] / own[0]), va="center")
    panel.legend(loc="upper center")


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
