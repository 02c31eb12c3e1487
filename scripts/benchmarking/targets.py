"""What was asked for, what was measured before, and what limits each number.

A ratio is ours over the peer, both in chain-steps per second; a rate is ours alone. `LIMITS` and `GPU_LIMITS` are
written by hand: revise them with the numbers in front of you.
"""

from dataclasses import dataclass

__all__ = ["EARLIER_RATES", "GPU_LIMITS", "LIMITS", "LONG_RUN", "SECONDS_TO_FIRST_RUN", "TARGETS", "Target"]


@dataclass(frozen=True)
class Target:
    """Asked of one work and number of chains: a ratio to `peer`, or without a peer a rate; on "cpu" or "gpu"."""

    work: str
    num_chains: int
    peer: str | None
    asked: float
    program: str = "ours"
    backend: str = "cpu"


SEEDS = (
    "seeds_descent",
    "seeds_minibatch",
    "seeds_isotropic",
    "seeds_levy",
    "seeds_diagonal",
    "seeds_anisotropic_levy",
    "seeds_anisotropic",
    "seeds_anisotropic_4_substeps",
)
"""The works that are one dynamics of an experiment, repeated over its seeds."""

TARGETS = (
    Target("double_well", 256, "plain", 8),
    Target("double_well", 4_096, "plain", 8),
    Target("double_well", 65_536, "plain", 6),
    Target("double_well", 4_096, "diffrax, UnsafeBrownianPath", 30),
    Target("double_well", 65_536, "PyTorch by hand", 2.5),
    Target("double_well", 65_536, "C, AVX-512, all cores", 0.8),
    Target("double_well", 65_536, "C, AVX-512, all cores", 1.0),
    Target("mueller_brown", 65_536, "plain", 8),
    Target("separable", 65_536, "plain", 10),
    Target("rosenbrock", 65_536, "plain", 6),
    Target("dense_quartic", 4_096, "plain", 4),
    Target("levy_ornstein_uhlenbeck", 65_536, "plain", 7),
    Target("readers_landscape", 65_536, "plain", 4),
    Target("sgd_regression", 4_096, "scan, choice, optax", 5),
    *(Target(name, 32, "loop over seeds and steps, optax", 5) for name in SEEDS),
    Target("double_well", 4_096, "plain", 20, backend="gpu"),
    Target("double_well", 1_000_000, None, 5e10, backend="gpu"),
)


@dataclass(frozen=True)
class LongRunTarget:
    seconds: float
    peak_memory_mb: float


LONG_RUN = LongRunTarget(seconds=240.0, peak_memory_mb=600.0)
SECONDS_TO_FIRST_RUN = 5.0

EARLIER_RATES: dict[str, dict[int, float]] = {
    "diffrax, VirtualBrownianTree": {256: 0.6, 4_096: 0.8},
    "diffrax, UnsafeBrownianPath": {256: 9, 4_096: 16},
    "torchsde": {256: 0.8, 4_096: 12, 65_536: 50},
    "NumPy": {256: 40, 4_096: 108, 65_536: 118},
    "plain": {256: 48, 4_096: 72, 65_536: 153},
    "PyTorch by hand": {256: 20, 4_096: 173, 65_536: 315},
    "ours": {256: 630, 4_096: 903, 65_536: 1_666},
    "C, AVX-512, all cores": {65_536: 1_125},
}
"""Double well, 1e6 chain-steps per second, measured earlier on two cores with AVX-512: other versions, another day.
"ours" stands for the prototype of today's loop, with 512-bit vectors. Only ratios to NumPy are compared."""

LIMITS: dict[tuple[str, int, str | None], str] = {
    ("double_well", 256, "plain"): "iterations of a loop: a thread's part of a step is eight vectors",
    ("double_well", 4_096, "plain"): "arithmetic of the generator",
    ("double_well", 65_536, "plain"): "arithmetic of the generator; here plain uses both cores too",
    ("double_well", 4_096, "diffrax, UnsafeBrownianPath"): "arithmetic of the generator",
    ("double_well", 65_536, "PyTorch by hand"): "arithmetic of the generator",
    ("double_well", 65_536, "C, AVX-512, all cores"): (
        "XLA writes each block of draws to memory and reads it again; the C program keeps all in registers, and is "
        "faster than the one that the asked ratio was set with"
    ),
    ("mueller_brown", 65_536, "plain"): "four exponentials, computed again for the second coordinate",
    ("separable", 65_536, "plain"): "arithmetic of the generator, ten normals a step",
    ("rosenbrock", 65_536, "plain"): "arithmetic of the generator, ten normals a step",
    ("dense_quartic", 4_096, "plain"): "a hundred products a step, unrolled",
    ("levy_ornstein_uhlenbeck", 65_536, "plain"): "five logarithms and an exponential of the stable sampler",
    ("readers_landscape", 65_536, "plain"): "arithmetic of the generator, and of a sine and a cosine by polynomials",
    ("sgd_regression", 4_096, "scan, choice, optax"): "reading the examples of each minibatch, row by row",
    **{
        (name, 32, "loop over seeds and steps, optax"): "small matrix products, called layer by layer and seed by seed"
        for name in SEEDS
    },
    **{
        (name, 32, "loop over seeds and steps, optax"): (
            "small matrix products; the loop takes every example's gradient, ours what they add up to"
        )
        for name in ("seeds_levy", "seeds_diagonal")
    },
}

GPU_LIMITS: dict[tuple[str, int, str | None], str] = {
    ("double_well", 4_096, "plain"): "launching kernels: microseconds for each iteration of plain's loop",
    ("double_well", 1_000_000, None): "arithmetic of the generator: about 150 instructions a step",
}
