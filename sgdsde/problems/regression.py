"""Linear and logistic regression, on synthetic Gaussian data or on real data that comes with scikit-learn.

Parameters are theta (d,), the examples {"inputs": (n, d), "targets" or "labels": (n,)}; a column of ones among the
inputs is an intercept. The noise depends on theta: for linear regression with residuals r_i it is
Sigma = mean r_i^2 x_i x_i^T - g g^T. The precision is that of the arrays given.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from sgdsde.arguments import count, is_traced, known, matrix, number, precision, square_root, vector
from sgdsde.problem import Problem, check_problem
from sgdsde.randomness import same_key

__all__ = [
    "breast_cancer_data",
    "diabetes_data",
    "gaussian_regression_data",
    "least_squares_solution",
    "linear_regression",
    "logistic_regression",
    "wine_data",
]


def linear_regression(inputs: Any, targets: Any) -> Problem:
    """Least squares with the half: example_loss(theta, (x, y)) = (y - theta . x)^2 / 2.

    inputs (n, d), targets (n,). With more examples than parameters, mean_loss is the quadratic about the least-squares
    solution theta*, (theta - theta*)^T H (theta - theta*) / 2 + its residual loss, H = mean x x^T: unlike
    theta^T H theta / 2 - b . theta it loses no digits near the minimum, and a full gradient costs d^2. init: zeros.
    Raises ValueError, or TypeError for two precisions, naming the argument.
    """
    inputs, targets = _arrays(inputs, targets, "targets")
    mean_loss = None
    if inputs.shape[0] > inputs.shape[1]:
        mean_loss = Partial(_quadratic_about, *_sufficient_statistics(inputs, targets))
    return Problem(
        example_loss=_squared_error,
        examples={"inputs": inputs, "targets": targets},
        init=Partial(_start, jnp.zeros(inputs.shape[1], inputs.dtype)),
        mean_loss=mean_loss,
    )


def logistic_regression(inputs: Any, labels: Any, *, penalty: Any) -> Problem:
    """Two classes: example_loss(theta, (x, label)) = log(1 + exp(-s theta . x)), s = 2 label - 1, label 0 or 1.

    penalty >= 0 adds the full-batch term penalty |theta|^2 / 2 (all coordinates, the intercept too), which makes the
    minimum unique, and finite for separable classes; it adds no noise. inputs (n, d), labels (n,). init: zeros.
    Raises ValueError, or TypeError for two precisions, naming the argument.
    """
    penalty = number("penalty", penalty, at_least=0.0)
    values = known("labels", labels)
    if values is not None and not np.isin(values, (0, 1)).all():
        raise ValueError(f"labels: expected 0 or 1, got {np.unique(values)[:5]}; recode the classes first")
    inputs, labels = _arrays(inputs, labels, "labels")
    return Problem(
        example_loss=_logistic_loss,
        examples={"inputs": inputs, "labels": labels},
        init=Partial(_start, jnp.zeros(inputs.shape[1], inputs.dtype)),
        penalty=Partial(_ridge, penalty),
    )


def least_squares_solution(problem: Problem) -> jax.Array:
    """theta* (d,) of a `linear_regression`, the one of least norm where it is not unique; traceable.

    Known data are solved in float64 on the host whatever their precision.
    """
    check_problem(problem)
    if not isinstance(problem.examples, dict) or set(problem.examples) != {"inputs", "targets"}:
        raise ValueError("problem: expected a linear_regression, whose examples are {'inputs', 'targets'}")
    return _solve(problem.examples["inputs"], problem.examples["targets"])


def gaussian_regression_data(
    key: jax.Array, *, input_covariance: Any, weights: Any, label_variance: Any, num_examples: int
) -> tuple[jax.Array, jax.Array]:
    """Inputs x ~ N(0, A), (num_examples, d), and targets y = weights . x + N(0, s^2), (num_examples,).

    A = input_covariance (d, d), symmetric positive semi-definite, a number for d = 1; weights (d,); s^2 =
    label_variance >= 0, the name that `gaussian_regression_covariance` uses. A finite sample: its second moments are
    not A. Traceable in everything but num_examples. Raises ValueError naming the argument.
    """
    num_examples = count("num_examples", num_examples)
    dtype = precision(input_covariance=input_covariance, weights=weights)
    weights = vector("weights", weights, dtype)
    factor = square_root(matrix("input_covariance", input_covariance, dtype, size=len(weights), semidefinite=True))
    deviation = jnp.sqrt(jnp.asarray(number("label_variance", label_variance, at_least=0.0), dtype))
    input_key, label_key = jax.random.split(same_key(key))
    normals = jax.random.normal(input_key, (num_examples, len(weights)), dtype)
    inputs = jnp.matmul(normals, factor.T, precision="highest")
    noise = deviation * jax.random.normal(label_key, (num_examples,), dtype)
    return inputs, jnp.matmul(inputs, weights, precision="highest") + noise


def diabetes_data(*, intercept: bool) -> tuple[np.ndarray, np.ndarray]:
    """442 patients, 10 measurements, a year's progression of diabetes: inputs (442, 10 or 11) and targets (442,).

    Inputs and targets are standardised (mean 0, variance 1, divided by n); intercept=True appends a column of ones,
    without it the model is centred. NumPy float64: pass them through `.astype` for float32 beside float64.
    Source: Efron, Hastie, Johnstone, Tibshirani (2004), Least angle regression; bundled with scikit-learn.
    """
    from sklearn.datasets import load_diabetes

    inputs, targets = (np.asarray(array) for array in load_diabetes(return_X_y=True, scaled=False))
    return _standardised_inputs(inputs, intercept), (targets - targets.mean()) / targets.std()


def wine_data(*, intercept: bool) -> tuple[np.ndarray, np.ndarray]:
    """178 wines, 13 chemical measurements, labels 1 for the first of three cultivars and 0 for the others: inputs
    (178, 13 or 14), standardised as in `diabetes_data`, and labels (178,). Source: Forina et al. (1988), UCI; bundled
    with scikit-learn."""
    from sklearn.datasets import load_wine

    inputs, cultivars = (np.asarray(array) for array in load_wine(return_X_y=True))
    return _standardised_inputs(inputs, intercept), (cultivars == 0).astype(np.float64)


def breast_cancer_data(*, intercept: bool) -> tuple[np.ndarray, np.ndarray]:
    """569 tumours, 30 measurements of cell nuclei, labels 1 for benign and 0 for malignant: inputs (569, 30 or 31),
    standardised as in `diabetes_data`, and labels (569,). Source: Street, Wolberg, Mangasarian (1993), UCI; bundled
    with scikit-learn."""
    from sklearn.datasets import load_breast_cancer

    inputs, labels = (np.asarray(array) for array in load_breast_cancer(return_X_y=True))
    return _standardised_inputs(inputs, intercept), labels.astype(np.float64)


def _product(inputs, theta):
    """As a matrix product, which over a minibatch is twice as fast as a sum."""
    return jnp.matmul(inputs, theta, precision="highest")


def _squared_error(theta, example):
    return (example["targets"] - _product(example["inputs"], theta)) ** 2 / 2


def _logistic_loss(theta, example):
    margin = (2 * example["labels"] - 1) * _product(example["inputs"], theta)
    return jax.nn.softplus(-margin)


def _ridge(penalty, theta):
    return jnp.asarray(penalty, theta.dtype) * jnp.sum(theta**2) / 2


def _quadratic_about(solution, hessian, residual_loss, theta):
    away = theta - solution
    return jnp.sum(away * jnp.matmul(hessian, away, precision="highest")) / 2 + residual_loss


def _start(start, key):
    return start


def _sufficient_statistics(inputs, targets):
    """theta*, H and the residual loss; known data in float64 on the host, so that float32 keeps its digits."""
    solution = _solve(inputs, targets)
    x, y, theta = inputs, targets, solution
    if not is_traced((inputs, targets)):
        x, y, theta = (np.asarray(array, np.float64) for array in (x, y, theta))
    with jax.default_matmul_precision("highest"):
        hessian, residuals = x.T @ x / len(x), y - x @ theta
    return solution, jnp.asarray(hessian, inputs.dtype), jnp.asarray((residuals**2).mean() / 2, inputs.dtype)


def _solve(inputs, targets):
    if is_traced((inputs, targets)):
        return jnp.linalg.lstsq(inputs, targets)[0]
    solution = np.linalg.lstsq(np.asarray(inputs, np.float64), np.asarray(targets, np.float64), rcond=None)[0]
    return jnp.asarray(solution, inputs.dtype)


def _arrays(inputs, outputs, name):
    dtype = precision(inputs=inputs, **{name: outputs})
    known("inputs", inputs)
    known(name, outputs)
    inputs, outputs = jnp.asarray(inputs, dtype), jnp.asarray(outputs, dtype)
    if inputs.ndim != 2 or 0 in inputs.shape:
        raise ValueError(f"inputs: expected shape (num_examples, d), got {inputs.shape}")
    if outputs.shape != inputs.shape[:1]:
        raise ValueError(f"{name}: expected shape ({inputs.shape[0]},), one for each input, got {outputs.shape}")
    return inputs, outputs


def _standardised_inputs(inputs, intercept):
    if not isinstance(intercept, bool | np.bool_):
        raise TypeError(f"intercept: expected True or False, got {intercept!r}")
    inputs = (inputs - inputs.mean(axis=0)) / inputs.std(axis=0)
    return np.column_stack([inputs, np.ones(len(inputs))]) if intercept else inputs
