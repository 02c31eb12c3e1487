"""Noise of one mode of a deep linear network: the moments of its gradient by hand, and where they are largest."""

import numpy as np
import pytest

from sgdsde import predictions


def test_noise_of_a_mode_by_differentiating_a_network():
    """One mode of three layers on x ~ N(0, 1), label noise e: the moments of the gradient, of powers of x and e, taken
    from the moments 1, 3 of x^2, x^4, so without samples."""
    layers, s, u, label = 3, 2.0, 0.7, 0.3
    weights = np.full(layers, u ** (1 / layers))
    after = np.array([np.prod(np.delete(weights, layer)) for layer in range(layers)])  # of u, in each weight
    # the example loss is (e + (s - w1 w2 w3) x)^2 / 2: its gradient in a weight is -after ((s - u) x^2 + e x)
    variance = (s - u) ** 2 * (3 - 1) + label
    found = predictions.mode_noise(u, target=s, num_layers=layers, label_variance=label)
    np.testing.assert_allclose(found["weights"], (after**2).sum() * variance, rtol=1e-12)
    np.testing.assert_allclose(found["strength"], (after @ after) ** 2 * variance, rtol=1e-12)


@pytest.mark.parametrize("layers", [2, 3, 5, 30])
def test_where_noise_peaks(layers):
    grid = np.linspace(0, 7.0, 200_001)
    noises = predictions.mode_noise(grid, target=7.0, num_layers=layers, label_variance=0.0)
    peaks = predictions.mode_noise_peak(target=7.0, num_layers=layers)
    for name, variance in noises.items():
        np.testing.assert_allclose(peaks[name], grid[np.argmax(variance)], atol=7 / 200_000)
    assert peaks["weights"] < 3.5 <= peaks["strength"] < 7 * 2 / 3
