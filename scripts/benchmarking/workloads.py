"""The works: what every program simulates. Each is built when it is asked for, in float32.

A `Landscape` is dx = -grad V dt + amplitude dL with one Euler step of length `step`, L Brownian motion or, below tail
index 2, a stable process with characteristic function exp(-t |k|^tail_index). In the units of this package the step is
the learning rate eta, and the noise of the minibatch gradient has sqrt(eta variance) = amplitude, or the scale
amplitude eta^(1/tail_index - 1) where it is stable. A `Training` is SGD, or its anisotropic Langevin equation. `Seeds`
is one dynamics of an experiment, repeated over its seeds.
"""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from scripts.benchmarking.first_run import ROOT, imported
from sgdsde import Problem, euler_maruyama, loss, noise, regression, sgd

__all__ = ["WORKS", "Landscape", "Seeds", "Training"]


@dataclass(frozen=True)
class Landscape:
    """A potential(params (d,)) -> scalar and how its noise is scaled; every chain starts at `begin`."""

    name: str
    potential: Callable
    begin: tuple[float, ...]
    step: float
    amplitude: float
    tail_index: float = 2.0

    @property
    def kind(self) -> str:
        return "langevin" if self.tail_index == 2 else "levy"

    def start(self) -> jax.Array:
        return jnp.asarray(self.begin, jnp.float32)

    def dynamics(self):
        """Ours: a user's own landscape as a finite sum of two tilted copies, whose mean is the potential."""
        potential, start = Partial(self.potential), self.start()
        tilts = jnp.stack([jnp.ones_like(start), -jnp.ones_like(start)])
        problem = Problem(Partial(_tilted_loss, potential), tilts, Partial(_begin, start), mean_loss=potential)
        if self.tail_index == 2:
            law = noise.isotropic(problem, variance=self.amplitude**2 / self.step)
        else:
            scale = self.amplitude * self.step ** (1 / self.tail_index - 1)
            law = noise.levy_coordinates(problem, tail_index=self.tail_index, scale=scale)
        return euler_maruyama(problem, law, learning_rate=self.step)

    def seen(self, params: Any) -> np.ndarray:
        """What programs are compared in, (num_chains, d): the params, or their tanh where they have no variance."""
        params = np.asarray(params, np.float64)
        return params if self.tail_index == 2 else np.tanh(params)


@dataclass(frozen=True)
class Training:
    """Parameters trained on examples with minibatches drawn with replacement: kind "sgd" or "anisotropic"."""

    name: str
    kind: str
    problem: Problem
    learning_rate: float
    batch_size: int

    def start(self) -> Any:
        return self.problem.init(jax.random.key(0))

    def dynamics(self):
        sizes = {"batch_size": self.batch_size, "sampling": "with_replacement"}
        if self.kind == "sgd":
            return sgd(self.problem, learning_rate=self.learning_rate, **sizes)
        return euler_maruyama(self.problem, noise.anisotropic(self.problem, **sizes), learning_rate=self.learning_rate)

    def seen(self, params: Any) -> np.ndarray:
        """The params where they are one vector, else the loss: (num_chains, d or 1)."""
        if isinstance(params, jax.Array):
            return np.asarray(params, np.float64)
        return np.asarray(_losses(self.problem, params), np.float64)[:, None]


@dataclass(frozen=True)
class Seeds:
    """One dynamics of `experiments/deep_linear_modes.py` at its full size, but started where all modes are learning,
    so that a few steps have a result to compare. law: what it is called in `peers/optax_loop.py`."""

    name: str
    law: str
    problem: Problem
    dynamics: Callable[[], Any]
    learning_rate: float
    batch_size: int
    tail_index: float
    substeps: int

    @property
    def kind(self) -> str:
        return "descent" if self.law == "descent" else "seeds"

    def start(self) -> Any:
        return self.problem.init(jax.random.key(0))

    def seen(self, params: Any) -> np.ndarray:
        """The loss: (num_chains, 1)."""
        return np.asarray(_losses(self.problem, params), np.float64)[:, None]


def double_well() -> Landscape:
    return Landscape("double_well", lambda x: (x[0] ** 2 - 1) ** 2, (1.0,), step=0.01, amplitude=0.5)


def mueller_brown() -> Landscape:
    """Mueller and Brown (1979) with the published constants, two dimensions, written with x[0] and x[1]."""
    terms = (  # height, x^2, x y, y^2 coefficients, centre
        (-200.0, -1.0, 0.0, -10.0, 1.0, 0.0),
        (-100.0, -1.0, 0.0, -10.0, 0.0, 0.5),
        (-170.0, -6.5, 11.0, -6.5, -0.5, 1.5),
        (15.0, 0.7, 0.6, 0.7, -1.0, 1.0),
    )

    def potential(x):
        total = 0.0
        for height, xx, xy, yy, centre_x, centre_y in terms:
            u, v = x[0] - centre_x, x[1] - centre_y
            total = total + height * jnp.exp(xx * u**2 + xy * u * v + yy * v**2)
        return total

    return Landscape("mueller_brown", potential, (-0.5582236, 1.4417258), step=1e-4, amplitude=4.0)


def separable() -> Landscape:
    """Ten independent double wells."""
    return Landscape("separable", lambda x: jnp.sum((x**2 - 1) ** 2), (1.0,) * 10, step=0.01, amplitude=0.5)


def rosenbrock() -> Landscape:
    """A curved valley through ten coordinates, written with slices; mild enough for an explicit step."""

    def potential(x):
        return jnp.sum(2.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

    return Landscape("rosenbrock", potential, (1.0,) * 10, step=0.002, amplitude=0.1)


def dense_quartic() -> Landscape:
    """A dense quadratic form of eigenvalues 0.5 to 5 plus a quartic, ten coordinates."""
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((10, 10)))[0]
    hessian = ((basis * np.linspace(0.5, 5.0, 10)) @ basis.T).astype(np.float32)

    def potential(x):
        return x @ (hessian @ x) / 2 + jnp.sum(x**4) / 4

    return Landscape("dense_quartic", potential, (1.0,) * 10, step=0.01, amplitude=0.5)


def levy_ornstein_uhlenbeck() -> Landscape:
    return Landscape(
        "levy_ornstein_uhlenbeck", lambda x: x[0] ** 2 / 2, (1.0,), step=0.01, amplitude=0.5, tail_index=1.5
    )


def readers_landscape() -> Landscape:
    """Three lines as a reader may write them: indexing and a transcendental function."""

    def potential(x):
        radius = x[0] ** 2 + x[1] ** 2
        ripple = jnp.cos(3.0 * x[0]) * x[1]
        return (radius - 1) ** 2 + 0.5 * ripple

    return Landscape("readers_landscape", potential, (1.0, 0.0), step=0.01, amplitude=0.5)


def sgd_regression() -> Training:
    """Least squares in ten parameters, 256 examples, minibatches of 8."""
    generator = np.random.default_rng(0)
    inputs = generator.standard_normal((256, 10)).astype(np.float32)
    targets = (inputs.sum(axis=1) + generator.standard_normal(256)).astype(np.float32)
    return Training("sgd_regression", "sgd", regression.linear_regression(inputs, targets), 0.05, 8)


def deep_linear_sgd() -> Training:
    return Training("deep_linear_sgd", "sgd", deep_linear_problem(), 0.02, 8)


def deep_linear_anisotropic() -> Training:
    return Training("deep_linear_anisotropic", "anisotropic", deep_linear_problem(), 0.02, 8)


def deep_linear_problem() -> Problem:
    """Two layers of 16 x 16, 64 examples: |second first x - y|^2 / 2 with a linear teacher and label noise."""
    generator = np.random.default_rng(0)

    def normals(*shape):
        return generator.standard_normal(shape).astype(np.float32)

    inputs, teacher = normals(64, 16), normals(16, 16) / 4
    examples = {"inputs": inputs, "targets": inputs @ teacher.T + 0.3 * normals(64, 16)}
    start = {name: jnp.asarray(np.eye(16, dtype=np.float32) / 2 + normals(16, 16) / 20) for name in ("first", "second")}
    return Problem(_deep_linear_loss, examples, Partial(_begin, start))


def seeds_of(law: str, substeps: int = 1) -> Callable[[], Seeds]:
    """The work of one dynamics, named seeds_ and its law."""
    plain = law.replace(" ", "_") + (f"_{substeps}_substeps" if substeps > 1 else "")

    def build() -> Seeds:
        module, config, problem = _deep_linear_modes()
        if law == "descent":
            made = functools.partial(module.descent, problem, config.learning_rate)
        else:
            name = {"minibatch": "SGD"}.get(law, law) + (f", {substeps} substeps" if substeps > 1 else "")
            made = lambda: module.dynamics(config, problem)[name]
        rate, size, index = config.learning_rate, config.batch_size, config.tail_index
        return Seeds(f"seeds_{plain}", law, problem, made, rate, size, index, substeps)

    build.__name__ = f"seeds_{plain}"
    return build


@functools.cache
def _deep_linear_modes() -> tuple[Any, Any, Problem]:
    module = imported(ROOT / "experiments" / "deep_linear_modes.py")
    config = dataclasses.replace(module.Config(), start_strength=5.0)
    return module, config, module.network(config, jax.random.key(0))


def _tilted_loss(potential, params, tilt):
    return potential(params) + jnp.sum(tilt * params)


def _begin(start, key):
    return start


def _deep_linear_loss(params, example):
    output = params["second"] @ (params["first"] @ example["inputs"])
    return jnp.sum((output - example["targets"]) ** 2) / 2


@jax.jit
def _losses(problem, params):
    return jax.vmap(loss, in_axes=(None, 0))(problem, params)


WORKS: dict[str, Callable[[], Landscape | Training | Seeds]] = {
    build.__name__: build
    for build in (
        double_well,
        mueller_brown,
        separable,
        rosenbrock,
        dense_quartic,
        levy_ornstein_uhlenbeck,
        readers_landscape,
        sgd_regression,
        deep_linear_sgd,
        deep_linear_anisotropic,
        *map(seeds_of, ("descent", "minibatch", "isotropic", "levy", "diagonal", "anisotropic levy", "anisotropic")),
        seeds_of("anisotropic", substeps=4),
    )
}
