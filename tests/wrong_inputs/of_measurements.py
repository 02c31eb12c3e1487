"""One right call of every public measurement, small enough to be repeated hundreds of times."""

import jax
import numpy as np

from sgdsde import measurements as m

PUBLIC = m.__all__
LEFT_OUT = {name for name in PUBLIC if name[0].isupper()}  # results

RANDOM = np.random.default_rng(4)
CHAINS, OTHERS = RANDOM.standard_normal((30, 2)), RANDOM.standard_normal((20, 2))
SCALARS, MORE = RANDOM.standard_normal(60), RANDOM.standard_normal(50)
RECORDS, TIMES = RANDOM.standard_normal((8, 30)), np.arange(8.0)
PATHS = RANDOM.standard_normal((5, 16, 2))
LONG = RANDOM.standard_normal(300)
GRID = np.linspace(-5, 5, 101)
NORMAL = np.exp(-(GRID**2) / 2) / np.sqrt(2 * np.pi)
POINTS = np.linspace(-2, 2, 9)
FRACTIONS = np.linspace(0.05, 0.95, 9)
EXITS, LEFT = RANDOM.exponential(size=40), np.arange(40) % 4 > 0
EDGES = (np.linspace(-2, 2, 4), np.linspace(-2, 2, 5))
LINE = {"x": np.array([1.0, 2.0, 3.0]), "y": np.array([1.0, 2.1, 2.9]), "standard_errors": np.array([0.1, 0.1, 0.2])}
SAMPLES = {"samples": SCALARS, "other_samples": MORE}
VECTORS = {"samples": CHAINS, "other_samples": OTHERS}
LAW = {"samples": SCALARS, "grid": GRID, "density": NORMAL}

RIGHT = {
    "angular_momentum": {"before": PATHS[:-1], "after": PATHS[1:], "lag": 0.1},
    "block_tail_index": {"samples": LONG, "block_size": 5},
    "cdf_distance": LAW,
    "cdf_distance_of_fractions": {
        "fractions": FRACTIONS, "num_chains": 50, "points": POINTS, "grid": GRID, "density": NORMAL,
    },
    "cdf_distance_two_samples": SAMPLES,
    "characteristic_tail_index": {"samples": LONG},
    "covariance": {"samples": CHAINS, "center": np.zeros(2)},
    "density_of_fractions": {"fractions": FRACTIONS, "num_chains": 50, "points": POINTS},
    "effective_sample_size": {"samples": RECORDS.T, "method": "bulk"},
    "energy_distance": VECTORS,
    "entropy_production": {
        "field": m.probability_current(PATHS[:-1], PATHS[1:], EDGES, lag=0.1, num_groups=4), "diffusion": np.eye(2),
    },
    "euler_virial_ratio": {"positions": PATHS, "potential_gradients": PATHS, "temperature": 0.5, "time_step": 0.1},
    "exponentiality": {"times": EXITS, "exited": LEFT},
    "first_crossing": {"times": TIMES, "values": RECORDS, "level": 0.3},
    "fluctuation_dissipation_ratio": {
        "positions": PATHS, "gradients": PATHS, "learning_rate": 0.1, "momentum": 0.5, "buffers": PATHS,
    },
    "fraction": {"flags": LEFT},
    "fraction_below": {"samples": SCALARS, "points": POINTS},
    "halfway_crossing": {"times": TIMES, "losses": np.exp(RECORDS), "rising": True},
    "increment_test": {"before": PATHS, "whitened": PATHS},
    "learning_coefficient": {
        "losses": np.abs(RECORDS), "loss_at_point": 0.0, "temperature": 0.1, "multiplicity": 2, "loss_scale": 3.0,
    },
    "log_log_slope": LINE,
    "log_moment_tail_index": {"samples": LONG},
    "loss_exponent": {"losses": np.exp(EXITS / 3), "minimum_loss": 1.0, "num_directions": 2, "largest_ratio": 50.0},
    "loss_exponent_of_mean": {"mean": 0.3, "standard_error": 0.01, "num_directions": 2, "largest_ratio": 50.0},
    "mean": {"samples": CHAINS, "sample_axis": 1},
    "mean_exit_time": {"times": EXITS, "exited": LEFT},
    "median_bandwidth": VECTORS,
    "minibatch_gradients": {"records": PATHS, "learning_rate": 0.1, "momentum": 0.5},
    "probability_current": {"before": PATHS[:-1], "after": PATHS[1:], "edges": EDGES, "lag": 0.1, "num_groups": 4},
    "quantile_tail_index": {"samples": LONG},
    "ratio_of_means": {"numerators": SCALARS + 3, "denominators": SCALARS + 4},
    "relaxation_time": {"observed": RECORDS, "time": TIMES},
    "relaxation_time_between_starts": {"observed": RECORDS, "other_observed": RECORDS - 3, "time": TIMES},
    "rhat": {"samples": RECORDS.T},
    "squared_mmd": VECTORS | {"bandwidth": 1.0},
    "stationarity": {"samples_by_start": [SCALARS, MORE], "limit": 5.9},
    "survival": {"times": EXITS, "exited": LEFT, "at": np.array([0.1, 0.4])},
    "tail_exponent": {"samples": LONG, "num_exceedances": 30},
    "tail_exponents": {"samples": LONG, "counts": np.array([10, 30])},
    "tail_report": {
        "samples": LONG, "key": jax.random.key(2), "center": 0.0, "gaussian_samples": LONG[None] + 0.1, "level": 0.9,
        "num_simulations": 100,
    },
    "wasserstein_distance": LAW,
    "wasserstein_distance_two_samples": SAMPLES,
    "weighted_slope": LINE,
    "whitened_deviation": {"samples": CHAINS, "predicted_covariance": np.eye(2), "center": np.zeros(2)},
    "whitened_deviation_of_groups": {"moments": np.tile(np.eye(2), (5, 1, 1)), "predicted_covariance": np.eye(2)},
    "whitened_increments": {
        "before": PATHS[:-1], "after": PATHS[1:], "step_mean": PATHS[1:] * 0, "step_covariance": np.eye(2),
    },
}  # fmt: skip
CALLS = {name: (getattr(m, name), right) for name, right in RIGHT.items()}
SPARED = {"first_crossing": {("infinity", "level"), ("1e30", "level")}}  # NaN is the crossing that never comes
