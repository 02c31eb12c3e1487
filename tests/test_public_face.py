"""The public face: every name resolves, signatures are those promised, and importing costs nothing."""

import inspect
import subprocess
import sys

import pytest

import sgdsde
from sgdsde import landscapes, noise, predictions

SIGNATURES = {
    sgdsde.Problem: "example_loss, examples, init, penalty=None, mean_loss=None, noise_factor=None, microbatch=None",
    sgdsde.sgd: "problem, *, learning_rate, batch_size, sampling, momentum=0.0, clip=None",
    sgdsde.optimizer: "problem, transformation, *, batch_size, sampling",
    sgdsde.euler_maruyama: "problem, noise, *, learning_rate, substeps=1, scheme=explicit",
    sgdsde.match: "dynamics, noise_kind, *, substeps, at=None, scheme=explicit, **kind_options",
    sgdsde.simulate: "dynamics, start, key, *, num_steps, num_chains, observe, every, average=False",
    sgdsde.Check: "name, measured, predicted, standard_error, tolerance, expect, source",
    noise.isotropic: "problem, *, variance",
    noise.diagonal: "problem, *, batch_size, sampling",
    noise.anisotropic: "problem, *, batch_size, sampling",
    noise.constant: "problem, *, covariance",
    noise.levy: "problem, *, tail_index, scale",
    noise.levy_coordinates: "problem, *, tail_index, scale",
    noise.anisotropic_levy: "problem, *, tail_index, batch_size, sampling",
    landscapes.quadratic: "hessian, *, gradient_covariance, num_examples",
    landscapes.double_well: "*, barrier, transverse_curvature, gradient_covariance, num_examples",
    predictions.temperature: "*, learning_rate, batch_size, gradient_variance",
    predictions.gibbs_density: "potential, temperature, grid",
    predictions.sde_covariance: "hessian, noise_covariance, *, learning_rate",
    predictions.euler_covariance: "hessian, noise_covariance, *, learning_rate, substeps",
    predictions.sgd_covariance: "hessian, noise_covariance, *, learning_rate, momentum=0.0",
}


def written(parameters):
    parts, starred = [], False
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            parts.append("*")
            starred = True
        default = parameter.default
        default = getattr(default, "__name__", default)
        stars = "**" if parameter.kind is parameter.VAR_KEYWORD else ""
        parts.append(stars + parameter.name + ("" if default == "_empty" else f"={default}"))
    return ", ".join(parts)


@pytest.mark.parametrize(("function", "promised"), SIGNATURES.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_signatures_are_those_promised(function, promised):
    assert written(inspect.signature(function).parameters.values()) == promised


def test_every_public_name_resolves_and_is_documented():
    for name in sgdsde.__all__:
        value = getattr(sgdsde, name)
        assert name.startswith("__") or value.__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'simulat'"):
        sgdsde.simulat  # noqa: B018


def fresh(code):
    """What a fresh interpreter prints, without the type checks that the tests install."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_makes_no_array_and_no_device():
    code = """
import sys, sgdsde
assert "jax" not in sys.modules
from sgdsde import *
import jax
print(jax._src.xla_bridge._backends, len(jax.live_arrays()) if jax._src.xla_bridge._backends else 0)
"""
    assert fresh(code).split() == ["{}", "0"]


def test_mistakes_are_answered_with_the_field_and_the_mend():
    code = """
import jax, jax.numpy as jnp
from sgdsde import Problem, compare, landscapes, match, noise, sgd, simulate
problem = landscapes.quadratic(jnp.eye(2), gradient_covariance=jnp.eye(2), num_examples=8)
good = dict(learning_rate=.1, batch_size=2, sampling="with_replacement")
def wrong(make):
    try: make()
    except (TypeError, ValueError) as error: print(error)
    else: print("ACCEPTED")
wrong(lambda: sgd(problem, **good | dict(sampling="with_replacment")))
wrong(lambda: sgd(problem, **good | dict(batch_size=2.5)))
wrong(lambda: sgd(problem, **good | dict(batch_size=9)))
wrong(lambda: sgd(problem, **good | dict(learning_rate=-1)))
wrong(lambda: noise.levy(problem, tail_index=2.5, scale=1.))
wrong(lambda: match(sgd(problem, **good), noise.levy, substeps=1, at=jnp.zeros(2), tail_index=0))
wrong(lambda: Problem(3, jnp.ones(2), lambda key: jnp.ones(1)))
wrong(lambda: match(sgd(problem, **good), noise.anisotropic, substeps=0))
wrong(lambda: sgd("parabola", **good))
wrong(lambda: noise.isotropic(None, variance=1.0))
wrong(lambda: match(sgd(problem, **good), "anisotropic", substeps=1))
wrong(lambda: compare(problem, jax.random.key(0), **good, num_steps=10, num_chains=4, kinds=["levy"]))
"""
    answers = fresh(code).splitlines()
    expected = [
        "sampling: expected one of 'with_replacement', 'without_replacement', 'epoch', got 'with_replacment'",
        "batch_size: expected an integer",
        "batch_size: expected an integer from 1 to 8, got 9; take a batch of at most num_examples",
        "learning_rate: expected a number > 0, got -1",
        "tail_index: expected a number in (0, 2]",
        "tail_index: expected a number in (0, 2]",
        "Problem.example_loss: expected a function, got int",
        "substeps: expected an integer >= 1",
        "problem: expected a Problem, got str",
        "problem: expected a Problem, got NoneType",
        "noise_kind: expected a function such as noise.anisotropic, got 'anisotropic'",
        "kinds: expected functions such as noise.anisotropic, or (kind, options), got 'levy'",
    ]
    assert len(answers) == len(expected)
    for answer, start in zip(answers, expected, strict=True):
        assert answer.startswith(start), answer
