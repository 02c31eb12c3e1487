"""SGD and its matched SDEs on a loss of one's own, in one call: table, distances and figure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.tree_util import Partial, tree_leaves

from sgdsde import noise, style
from sgdsde.dynamics.matching import match
from sgdsde.dynamics.minibatch import sgd
from sgdsde.ensemble import Trajectory
from sgdsde.laws import Sampling
from sgdsde.measurements.discrepancies import energy_distance
from sgdsde.measurements.distances import cdf_distance_two_samples
from sgdsde.problem import Problem, loss
from sgdsde.randomness import counter_key
from sgdsde.simulation import simulate

__all__ = ["Comparison", "compare"]

SAMPLES = 4_000
"""most chains that enter the energy distance, whose cost is quadratic"""


@dataclass(frozen=True)
class Comparison:
    """SGD beside its SDEs.

    trajectories: name -> Trajectory, "SGD" first; observed is the scalar that was compared, (num_records, num_chains).
    table: a row (a dictionary) for each: final mean of the observable, its standard error, and the fraction diverged.
    distances: name -> row of two distances to SGD at the last step, each with its standard error: `cdf` (Kolmogorov-
        Smirnov, of the observable) and `energy` (of all parameters, unbiased: 0 on average for equal laws).
    """

    trajectories: dict[str, Trajectory]
    table: list[dict[str, Any]]
    distances: dict[str, dict[str, float]]
    observable: str

    def figure(self) -> Any:
        """The observable's mean over time with its standard error, and its last distribution function (matplotlib)."""
        drawn, (course, law) = style.figure(1, 2)
        for name, trajectory in self.trajectories.items():
            look = style.line(_colour(name))
            seen = np.asarray(trajectory.observed, float)
            mean, error = seen.mean(axis=1), seen.std(axis=1, ddof=1) / np.sqrt(seen.shape[1])
            course.plot(trajectory.time, mean, color=look["color"], linestyle=look["linestyle"], label=name)
            course.fill_between(trajectory.time, mean - error, mean + error, color=look["color"], alpha=0.25, lw=0)
            last = np.sort(seen[-1])
            fractions = (np.arange(last.size) + 0.5) / last.size
            law.plot(last, fractions, color=look["color"], linestyle=look["linestyle"])
        reference = np.asarray(self.trajectories["SGD"].observed, float)
        means = reference.mean(axis=1)
        if np.isfinite(means).all():  # heavy tails must not squeeze the rest out of sight
            spread = np.ptp(means) + reference.std() / 4
            course.set_ylim(means.min() - spread / 2, means.max() + spread)
            low, high = np.quantile(reference[-1], [0.001, 0.999])
            law.set_xlim(low - (high - low) / 4, high + (high - low) / 2)
        course.set(xlabel="time (sum of learning rates)", ylabel=f"{self.observable}, mean over chains")
        law.set(xlabel=f"{self.observable} at the last step", ylabel="fraction of chains below")
        course.legend()
        return drawn

    def __str__(self) -> str:
        head = ["dynamics", f"{self.observable} (mean ± standard error)", "diverged", "CDF distance", "energy distance"]
        lines = [head]
        for row in self.table:
            distance = self.distances.get(row["dynamics"])
            cells = [
                f"{distance[d]:.3g} ± {distance[d + '_error']:.1g}" if distance else "-" for d in ("cdf", "energy")
            ]
            lines.append(
                [row["dynamics"], f"{row['mean']:.5g} ± {row['standard_error']:.1g}", f"{row['diverged']:.1%}", *cells]
            )
        widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def compare(
    problem: Problem,
    key: jax.Array,
    *,
    learning_rate: Any,
    batch_size: int,
    sampling: Sampling,
    num_steps: int,
    num_chains: int,
    momentum: Any = 0.0,
    tail_index: Any = None,
    substeps: int = 8,
    start: Any = None,
    at: Any = None,
    observe: Callable | None = None,
    every: int | None = None,
    kinds: Sequence[Callable] | None = None,
) -> Comparison:
    """Run SGD and its matched SDEs on `problem`, with independent keys, and measure how far each SDE is from SGD.

    kinds: noise kinds, by default isotropic, diagonal and anisotropic, and anisotropic Levy where tail_index is given.
    substeps: microsteps of the SDEs in a step (1: SGD's own step with another noise law; many: continuous time).
    start: as for `simulate`, by default problem.init; at: where fixed noise is matched, by default one draw of it.
    observe(params) -> scalar, by default the loss; recorded every `every` steps, by default about a hundred times.

    Raises what `sgd`, `match` and `simulate` raise, before any compute, and ValueError for an observable that is no
    scalar.
    """
    discrete = sgd(problem, learning_rate=learning_rate, batch_size=batch_size, sampling=sampling, momentum=momentum)
    if kinds is None:
        kinds = (noise.isotropic, noise.diagonal, noise.anisotropic)
        kinds += () if tail_index is None else (noise.anisotropic_levy,)
    start = problem.init if start is None else start
    keys = jax.random.split(counter_key(key), len(kinds) + 2)
    at = problem.init(keys[0]) if at is None else at
    observable = "loss" if observe is None else getattr(observe, "__name__", "observable")
    observe = Partial(loss, problem) if observe is None else observe
    shape = jax.eval_shape(observe, problem.params_like)
    if not (hasattr(shape, "shape") and shape.shape == ()):
        raise ValueError(f"observe: expected a function params -> scalar, got {shape}")
    every = _cadence(num_steps) if every is None else every
    named = {"SGD": discrete}
    for kind in kinds:
        options = {"tail_index": tail_index} if "levy" in kind.__name__ else {}
        named[f"{kind.__name__} SDE"] = match(discrete, kind, substeps=substeps, at=at, **options)
    trajectories = {
        name: simulate(dynamics, start, k, num_steps=num_steps, num_chains=num_chains, observe=observe, every=every)
        for (name, dynamics), k in zip(named.items(), keys[1:])
    }
    table = [
        {
            "dynamics": name,
            "mean": float(found.observed[-1].mean()),
            "standard_error": float(found.observed[-1].std(ddof=1) / np.sqrt(num_chains)),
            "diverged": float((found.diverged_at >= 0).mean()),
        }
        for name, found in trajectories.items()
    ]
    reference = trajectories["SGD"]
    distances = {name: _distances(found, reference) for name, found in trajectories.items() if name != "SGD"}
    return Comparison(trajectories, table, distances, observable)


def _distances(found: Trajectory, reference: Trajectory) -> dict[str, float]:
    cdf, cdf_error = cdf_distance_two_samples(found.observed[-1], reference.observed[-1])
    energy, energy_error = energy_distance(_flat(found.params), _flat(reference.params))
    return {"cdf": cdf, "cdf_error": cdf_error, "energy": energy, "energy_error": energy_error}


def _flat(params: Any) -> np.ndarray:
    """(num_chains, d), of at most SAMPLES chains."""
    leaves = [np.asarray(leaf[:SAMPLES], float) for leaf in tree_leaves(params)]
    return np.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in leaves], axis=1)


def _cadence(num_steps: int) -> int:
    """The divisor of num_steps that gives the most records not above 100."""
    return min(step for step in range(1, num_steps + 1) if num_steps % step == 0 and num_steps // step <= 100)


def _colour(name: str) -> str:
    kind = name.removesuffix(" SDE")
    if "levy" in kind:
        return "levy"
    return kind if kind in style.COLOURS else "theory"
