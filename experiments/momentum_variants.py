"""Three forms of momentum at one learning rate have three laws; label noise at small rates has an isotropic one.

On a quadratic with Hessian H and constant noise covariance C, which does not commute with it, the stationary covariance
is exact at any rate for the heavy ball (m' = mu m + g, x' = x - eta m'), for Nesterov's momentum as optax computes it
(x' = x - eta (g + mu m')), and for an exponential average of the gradients (m' = mu m + (1 - mu) g). The rule
"momentum means eta/(1 - mu)", S H + H S = eta C/(1 - mu), is the limit of small rates of the first two; the average
keeps the temperature of plain SGD. Nesterov's law leaves the rule first, where eta h is no longer small against 1 - mu:
at momentum 0.9 it is below it, at 0.5 and large rates above; the heavy ball's is always above it, by
1/(1 - eta h/(2 (1 + mu))) in one dimension.

With Sigma = s^2 H, the noise of labels at the minimum of a squared loss with the half, S = (eta s^2/B)(2 I - eta H)^-1:
isotropic as eta h tends to 0 whatever H, where Gibbs at the mean temperature is as narrow as each direction is steep.

The simulations are of the same minibatches through `sgd` and `optimizer`; the rate is put into the loss (eta H and
eta^2 Sigma at rate 1), which is the same recursion.

Source: Liu, Ziyin, Ueda 2021 (arXiv 2012.03636), heavy ball; the other two are solutions of the same discrete Lyapunov
equation (`predictions.momentum_variants`); label noise: Blanc et al. 2020 (1904.09080).
Command: `sgdsde reproduce momentum_variants`.

What it does not say: one quadratic in two dimensions, two momenta, three rates, minibatches of one of 32 examples,
60,000 chains from one seed; second moments only, not whether the laws are Gaussian. The label noise has s = 1 and is
the same everywhere, as at a minimum; no network is trained. Its law is isotropic for eta h << 1 only: at eta h = 0.8
the flat direction has 0.7 times the steep one's variance. Libraries call all three forms
"momentum": which of them is meant decides the temperature.
"""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sgdsde import Check, landscapes, optimizer, sgd, simulate, style
from sgdsde.measurements import whitened_deviation_of_groups
from sgdsde.predictions import (
    averaged_momentum_covariance,
    label_noise_covariance,
    nesterov_covariance,
    sde_covariance,
    sgd_covariance,
)

SEE = """Variance of the steep direction at momentum 0.9 and rate x curvature 0.3, over that of the SDE at the rate
eta/(1 - mu): heavy ball {heavy ball, momentum 0.9, eta h = 0.3: steep direction over eta/(1 - mu)}, Nesterov {Nesterov,
momentum 0.9, eta h = 0.3: steep direction over eta/(1 - mu)}, exponential average {exponential average, momentum 0.9,
eta h = 0.3: steep direction over eta/(1 - mu)}. Under label noise at rate x curvature 0.1 the flat direction has
{label noise, eta h = 0.1: flat over steep variance | predicted} times the steep one's variance (met within
{label noise, eta h = 0.1: flat over steep variance | within}), where Gibbs says {label noise, eta h = 0.1: flat over
steep variance, Gibbs | predicted}."""


@dataclass(frozen=True)
class Config:
    rate_times_curvature: tuple[float, ...] = (0.1, 0.3, 0.8)
    """learning rates, times the largest curvature, 1"""
    label_deviation: float = 1.0
    """standard deviation s of the label noise"""
    num_examples: int = 32
    """examples in the finite sum; each minibatch is one of them"""
    every: int = 40
    """steps between two records"""
    num_forgotten: int = 8
    """records at the beginning that do not count"""
    num_records: int = 16
    """records of each chain that do"""
    num_chains: int = 60_000
    """independent chains"""
    num_groups: int = 500
    """equal groups of chains, whose second moments are kept: standard errors come from them"""
    seed: int = 0


SMOKE = Config(rate_times_curvature=(0.3,), every=8, num_forgotten=1, num_records=2, num_chains=64, num_groups=16)
DIMENSIONS = {
    "variants": ("variant", "momentum", "rate", "group", "row", "column"),
    "labels": ("rate", "group", "row", "column"),
    "num_diverged": (),
}
VARIANTS = ("heavy ball", "Nesterov", "exponential average")
MOMENTA = (0.5, 0.9)
HESSIAN = np.array([[0.8, 0.2], [0.2, 0.5]])
HESSIAN = HESSIAN / np.linalg.eigvalsh(HESSIAN)[-1]
NOISE = np.array([[1.0, -0.5], [-0.5, 1.5]])
LAWS = {"heavy ball": sgd_covariance, "Nesterov": nesterov_covariance,
        "exponential average": averaged_momentum_covariance}  # fmt: skip


@functools.cache
def transformation(variant, momentum):
    """At rate 1, one object for all rates."""
    if variant == "Nesterov":
        return optax.sgd(1.0, momentum=momentum, nesterov=True)
    return optax.chain(optax.ema(momentum, debias=False), optax.scale(-1.0))


def problem(config, rate, gradient_covariance):
    """The quadratic times the learning rate."""
    return landscapes.quadratic(
        rate * jnp.asarray(HESSIAN, float),
        gradient_covariance=rate**2 * gradient_covariance,
        num_examples=config.num_examples,
    )


def dynamics(config, variant, momentum, rate):
    scaled = problem(config, rate, jnp.asarray(NOISE, float))
    if variant == "heavy ball":
        return sgd(scaled, learning_rate=1.0, batch_size=1, sampling="with_replacement", momentum=momentum)
    return optimizer(scaled, transformation(variant, momentum), batch_size=1, sampling="with_replacement")


def position(params):
    return params


def second_moments(config, walk, key):
    """Mean of x x^T over the records and chains of each group (num_groups, 2, 2), and how many chains diverged."""
    found = simulate(
        walk, jnp.zeros(2), key, num_steps=config.every * (config.num_forgotten + config.num_records),
        num_chains=config.num_chains, observe=position, every=config.every,
    )  # fmt: skip
    groups = found.observed[config.num_forgotten :].reshape(config.num_records, config.num_groups, -1, 2)
    moments = jnp.einsum("rgci,rgcj->gij", groups, groups) / (groups.shape[0] * groups.shape[2])
    return moments, jnp.sum(found.diverged_at >= 0)


def run(config, key):
    keys = iter(jax.random.split(key, 100))
    rates = config.rate_times_curvature
    rows = [
        second_moments(config, dynamics(config, variant, momentum, rate), next(keys))
        for variant in VARIANTS for momentum in MOMENTA for rate in rates
    ]  # fmt: skip
    covariance = config.label_deviation**2 * jnp.asarray(HESSIAN, float)
    labels = [
        second_moments(
            config,
            sgd(problem(config, rate, covariance), learning_rate=1.0, batch_size=1, sampling="with_replacement"),
            next(keys),
        )
        for rate in rates
    ]
    variants = jnp.stack([row[0] for row in rows])
    return {
        "variants": variants.reshape(len(VARIANTS), len(MOMENTA), len(rates), *variants.shape[1:]),
        "labels": jnp.stack([row[0] for row in labels]),
        "num_diverged": sum(row[1] for row in rows + labels),
    }


def law(variant, momentum, rate):
    return LAWS[variant](HESSIAN, NOISE, learning_rate=rate, momentum=momentum)


def rule(momentum, rate):
    """Momentum means eta/(1 - mu)."""
    return sde_covariance(HESSIAN, NOISE, learning_rate=rate / (1 - momentum))


def label_law(config, rate):
    return label_noise_covariance(HESSIAN, label_variance=config.label_deviation**2, learning_rate=rate, batch_size=1)


STEEP = np.linalg.eigh(HESSIAN)[1][:, -1]
FLAT = np.linalg.eigh(HESSIAN)[1][:, 0]


def along(direction, moments):
    """Variance along a direction, with its error over groups."""
    each = np.einsum("gij,i,j->g", np.asarray(moments, float), direction, direction)
    return np.array([each.mean(), each.std(ddof=1) / np.sqrt(len(each))])


def over_the_rule(variant, momentum, rate):
    """Predicted variance of the steep direction over the rule's."""
    return STEEP @ law(variant, momentum, rate) @ STEEP / (STEEP @ rule(momentum, rate) @ STEEP)


def checks(config, arrays):
    found, rates = [], config.rate_times_curvature
    for i, variant in enumerate(VARIANTS):
        for j, momentum in enumerate(MOMENTA):
            for k, rate in enumerate(rates):
                moments = arrays["variants"][i, j, k]
                name = f"{variant}, momentum {momentum:g}, eta h = {rate:g}"
                source = "discrete Lyapunov equation"
                measured, error = whitened_deviation_of_groups(moments, law(variant, momentum, rate))
                found.append(Check(f"{name}: worst whitened entry", measured, 0, error, 0.0105, "agree", source))
            middle, largest = len(rates) // 2, len(rates) - 1
            for k, expect in ((middle, "agree"), (largest, "differ")):
                steep, error = along(STEEP, arrays["variants"][i, j, k]) / (STEEP @ rule(momentum, rates[k]) @ STEEP)
                name = f"{variant}, momentum {momentum:g}, eta h = {rates[k]:g}: steep direction over eta/(1 - mu)"
                if expect == "agree":
                    exact = over_the_rule(variant, momentum, rates[k])
                    found.append(Check(name, steep, exact, error, 0.01, expect, "discrete Lyapunov equation"))
                else:
                    found.append(Check(f"{name}, 1", steep, 1, error, 0, expect, "momentum as a larger learning rate"))
    for k, rate in enumerate(rates):
        measured, error = whitened_deviation_of_groups(arrays["labels"][k], label_law(config, rate))
        name = f"label noise, eta h = {rate:g}"
        source = "(eta s^2/B)(2 I - eta H)^-1"
        found.append(Check(f"{name}: worst whitened entry", measured, 0, error, 0.0105, "agree", source))
        (steep, steep_error), (flat, flat_error) = (along(each, arrays["labels"][k]) for each in (STEEP, FLAT))
        ratio, ratio_error = flat / steep, flat / steep * np.hypot(steep_error / steep, flat_error / flat)
        curvatures = np.linalg.eigvalsh(HESSIAN)
        exact, name = label_law(config, rate), f"{name}: flat over steep variance"
        exact = (FLAT @ exact @ FLAT) / (STEEP @ exact @ STEEP)
        found.append(Check(name, ratio, exact, ratio_error, 0.0145, "agree", source))
        gibbs = curvatures[1] / curvatures[0]
        found.append(Check(f"{name}, Gibbs", ratio, gibbs, ratio_error, 0, "below", "Gibbs: variances T/h"))
    return [*found, Check("chains diverged", arrays["num_diverged"], 0, 0, 0, "agree", "none may")]


def plot(config, arrays):
    figure, (momentum_panel, label_panel) = style.figure(1, 2, width=10.0, height=4.3)
    fine = np.geomspace(0.5 * min(config.rate_times_curvature), 1.15 * max(config.rate_times_curvature), 60)
    colours = [style.COLOURS[name] for name in ("SGD", "anisotropic", "isotropic")]
    for i, (variant, colour) in enumerate(zip(VARIANTS, colours)):
        for j, (momentum, dash) in enumerate(zip(MOMENTA, ("--", "-"))):
            exact = jax.jit(jax.vmap(functools.partial(over_the_rule, variant, momentum)))(fine)
            momentum_panel.plot(fine, exact, dash, color=colour, label=f"{variant}, momentum {momentum:g}")
            for k, rate in enumerate(config.rate_times_curvature):
                value, error = along(STEEP, arrays["variants"][i, j, k]) / float(STEEP @ rule(momentum, rate) @ STEEP)
                momentum_panel.errorbar(
                    rate, value, error, color=colour, marker="os^"[i], markerfacecolor="white" if j == 0 else colour
                )
    momentum_panel.axhline(1, color=style.COLOURS["gibbs"], linewidth=1, label="the rule $\\eta/(1-\\mu)$")
    momentum_panel.set(
        xscale="log", yscale="log", xlabel="learning rate x largest curvature", ylim=(0.06, 9),
        ylabel="variance of the steep direction / the rule's",
        title="(a) three forms of momentum (lines: exact)",
    )  # fmt: skip
    momentum_panel.legend(ncols=2, loc="upper left", columnspacing=1.0)
    momentum_panel.set_yticks([0.1, 0.2, 0.5, 1, 2], ["0.1", "0.2", "0.5", "1", "2"])
    values = np.linalg.eigvalsh(HESSIAN)
    for direction, name, colour, marker, curvature in (
        (STEEP, "steep", style.COLOURS["SGD"], "o", values[1]),
        (FLAT, "flat", style.COLOURS["anisotropic"], "s", values[0]),
    ):
        unit = config.label_deviation**2 / 2
        exact = jax.jit(jax.vmap(functools.partial(label_law, config)))(fine)
        exact = np.einsum("rij,i,j->r", exact, direction, direction) / (unit * fine)
        label_panel.plot(fine, exact, color=colour, label=f"{name} direction: exact (line), simulated")
        gibbs = values.mean() / curvature
        label_panel.plot(fine, np.full_like(fine, gibbs), ":", color=colour, label=f"{name} direction: Gibbs")
        for k, rate in enumerate(config.rate_times_curvature):
            value, error = along(direction, arrays["labels"][k])
            label_panel.errorbar(rate, value / (unit * rate), error / (unit * rate), color=colour, marker=marker)
    label_panel.set(
        xscale="log", xlabel="learning rate x largest curvature", ylim=(0, 2.9),
        ylabel="variance under label noise / ($\\eta s^2/2$)", title="(b) isotropic for $\\eta h \\ll 1$",
    )  # fmt: skip
    label_panel.legend(loc="upper left")
    figure.supxlabel("markers: simulated; bars: one standard error", fontsize=8)
    for panel in (momentum_panel, label_panel):
        panel.set_xticks([0.05, 0.1, 0.2, 0.5, 1], ["0.05", "0.1", "0.2", "0.5", "1"])
        panel.minorticks_off()
    return figure
