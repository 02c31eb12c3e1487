"""One right call of what makes networks and landscapes and of what watches them, for wrong arguments one at a time."""

import equinox
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

from sgdsde import deep_linear, landscapes, modular_addition, observables, parity, regression, superposition
from sgdsde.problem import gradient_variance
from sgdsde.problems.adapters import from_equinox, from_linen, from_nnx, model_of

KEY = jax.random.key(4)
TILTS = {"gradient_covariance": np.eye(2), "num_examples": 6}
PROBLEM = landscapes.quadratic(np.diag([1.0, 0.5]), **TILTS)
AT = {"problem": PROBLEM, "params": jnp.array([0.5, 0.25])}

TEACHER = deep_linear.teacher([2.0, 1.0], num_inputs=3, num_outputs=2)
START = deep_linear.balanced_start(TEACHER, hidden_widths=[2], strengths=0.5)
TAUGHT = {"num_examples": 5, "num_test_examples": 2, "label_variance": 0.1, "is_whitened": True}
LINEAR, _ = deep_linear.student(KEY, TEACHER, start=START, **TAUGHT)
LAYERS = START(KEY)
BASES = deep_linear.balanced_bases(TEACHER, hidden_widths=[2])

BITS = {"num_bits": 3, "relevant": [0, 2], "width": 2}
PARITY, _ = parity.complete_parity(**BITS)
BIT_INPUTS, BIT_PARAMS = PARITY.examples["inputs"], PARITY.init(KEY)

SIZES = {"modulus": 3, "num_hidden": 2}
DECAYED = {"train_fraction": 0.5, "weight_decay": 0.1}
MODULAR, TEST = modular_addition.quadratic(KEY, **SIZES, **DECAYED, start_deviation=0.5)
EMBEDDED, _ = modular_addition.embedding_mlp(KEY, **SIZES, **DECAYED, num_embedding=2, activation=jax.nn.relu)
MODULAR_PARAMS, EMBEDDED_PARAMS = MODULAR.init(KEY), EMBEDDED.init(KEY)
TRANSFORMER, _ = modular_addition.transformer(KEY, **SIZES, **DECAYED, num_embedding=2, num_heads=1)
PAIRS, LOGITS = TEST["pairs"], np.array([0.1, 0.7, 0.2])
WEIGHTS = {"weights": modular_addition.neuron_weights, "params": MODULAR_PARAMS}
CIRCUIT = {
    "logits": modular_addition.quadratic_logits, "example_loss": modular_addition.squared_error,
    "frequencies": np.array([False, True]), "params": MODULAR_PARAMS,
}  # fmt: skip

FEATURES = {"num_features": 3, "num_hidden": 2, "start_deviation": 0.5}
SPARSE = {"num_hidden": 2, "importance": np.array([1.0, 0.5]), "start_deviation": 0.5}
SAMPLED = {"key": KEY, "num_examples": 4, "num_test_examples": 2}
SUPERPOSED = superposition.one_hot_grid(**FEATURES, num_values=2).init(KEY)

RIGHT = {
    "landscapes.degenerate_valley": {"strength": 1.0, "confinement": 0.5} | TILTS,
    "landscapes.gaussian_tilts": {"covariance": np.eye(2), "num_examples": 6},
    "landscapes.heavy_tailed_tilts": {"covariance": np.eye(2), "num_examples": 6, "tail_index": 1.5},
    "landscapes.hessian_of_quadratic": {"problem": PROBLEM},
    "landscapes.mueller_brown": TILTS,
    "landscapes.quartic": {"curvature": 1.0, "coefficient": 0.5} | TILTS,
    "landscapes.saddle": {"curvature": np.array([-1.0, 1.0]), "confinement": 0.5} | TILTS,
    "landscapes.with_tilts": {"problem": PROBLEM, "tilts": np.array([[1.0, 0.5], [-1.0, -0.5]])},
    "deep_linear.teacher": {"singular_values": np.array([2.0, 1.0]), "num_inputs": 3, "num_outputs": 2, "key": KEY},
    "deep_linear.balanced_bases": {"teacher": TEACHER, "hidden_widths": (2,)},
    "deep_linear.balanced_start": {"teacher": TEACHER, "hidden_widths": (2,), "strengths": 0.5},
    "deep_linear.small_start": {"widths": (3, 2, 2), "gain": 0.5},
    "deep_linear.random_start": {"widths": (3, 2, 2), "standard_deviation": 0.5},
    "deep_linear.product": {"params": LAYERS},
    "deep_linear.student": {"key": KEY, "teacher": TEACHER, "start": START} | TAUGHT,
    "deep_linear.linear_network": {"inputs": np.eye(3), "targets": np.ones((3, 2)), "start": START},
    "parity.sparse_parity": SAMPLED | BITS,
    "parity.complete_parity": BITS,
    "parity.parity_labels": {"inputs": BIT_INPUTS, "relevant": [0, 2]},
    "parity.outputs": {"params": BIT_PARAMS, "inputs": BIT_INPUTS},
    "modular_addition.all_pairs": {"modulus": 3},
    "modular_addition.split": {"key": KEY, "modulus": 3, "train_fraction": 0.5},
    "modular_addition.squared_error": {"logits": LOGITS, "label": np.int32(1)},
    "modular_addition.cross_entropy": {"logits": LOGITS, "label": np.int32(1)},
    "modular_addition.analytic_params": {"key": KEY} | SIZES,
    "modular_addition.quadratic": {"key": KEY, "start_deviation": 0.5} | SIZES | DECAYED,
    "modular_addition.quadratic_logits": {"params": MODULAR_PARAMS, "pairs": PAIRS},
    "modular_addition.neuron_weights": {"params": MODULAR_PARAMS},
    "modular_addition.embedding_mlp": {"key": KEY, "num_embedding": 2, "activation": jax.nn.relu} | SIZES | DECAYED,
    "modular_addition.embedding_mlp_logits": {"activation": jax.nn.relu},
    "modular_addition.embedding_weights": {"params": EMBEDDED_PARAMS},
    "modular_addition.transformer": {"key": KEY, "num_embedding": 2, "num_heads": 1} | SIZES | DECAYED,
    "modular_addition.transformer_logits": {"problem": TRANSFORMER},
    "regression.breast_cancer_data": {"intercept": True},
    "regression.diabetes_data": {"intercept": True},
    "regression.wine_data": {"intercept": True},
    "superposition.one_hot": SAMPLED | FEATURES,
    "superposition.one_hot_grid": FEATURES | {"num_values": 2},
    "superposition.sparse": SAMPLED | SPARSE | {"probability": 0.5},
    "superposition.toy_model": SPARSE | {"inputs": np.eye(2)},
    "superposition.autoencoder": {"params": SUPERPOSED, "inputs": np.eye(3)},
    "superposition.population_loss": {"params": SUPERPOSED},
    "superposition.polygon": {
        "num_features": 4, "num_vertices": 3, "length": 1.0, "bias": -0.1, "other_biases": np.array([0.1]),
    },
    "observables.accuracy": {
        "logits": modular_addition.quadratic_logits, "inputs": PAIRS, "labels": TEST["sums"], "params": MODULAR_PARAMS,
    },
    "observables.all_of": {"observers": {"norm": observables.weight_norm}, "params": AT["params"]},
    "observables.balances": {"params": LAYERS},
    "observables.circuit_progress": CIRCUIT | {"problem": MODULAR, "test": TEST},
    "observables.excluded_loss": CIRCUIT | {"examples": MODULAR.examples},
    "observables.frequency_power": WEIGHTS,
    "observables.inverse_participation_ratio": WEIGHTS,
    "observables.key_frequencies": WEIGHTS | {"fraction": 0.5},
    "observables.largest_movement": {"start": BIT_PARAMS, "params": BIT_PARAMS},
    "observables.mode_noise": {"problem": LINEAR, "bases": BASES, "params": LAYERS},
    "observables.mode_strengths": {"left": TEACHER.left, "right": TEACHER.right, "params": LAYERS},
    "observables.num_key_frequencies": WEIGHTS | {"fraction": 0.5},
    "observables.parity_coefficient": {"relevant": [0, 2], "inputs": BIT_INPUTS, "params": BIT_PARAMS},
    "observables.relevant_weight_share": {"relevant": [0, 2], "params": BIT_PARAMS},
    "observables.restricted_loss": CIRCUIT,
    "observables.sampled_gradient_variance": AT | {
        "batch_size": 2, "sampling": "with_replacement", "num_batches": 4, "key": KEY,
    },
    "observables.shares_of_power": WEIGHTS,
    "observables.singular_values": {"params": LAYERS},
    "observables.weight_norm": {"params": LAYERS},
}  # fmt: skip
ROOMS = {
    "deep_linear": deep_linear, "landscapes": landscapes, "modular_addition": modular_addition,
    "observables": observables, "parity": parity, "regression": regression,
    "superposition": superposition,
}  # fmt: skip
CALLS = {name: (getattr(ROOMS[name.split(".")[0]], name.split(".")[1]), right) for name, right in RIGHT.items()}
CALLS["gradient_variance"] = (gradient_variance, AT)
CALLS["model_of"] = (model_of, {"problem": TRANSFORMER, "params": TRANSFORMER.init(KEY)})
MODEL = {"example_loss": lambda model, example: jnp.sum(model(example) ** 2), "examples": np.ones((3, 2))}
CALLS["from_linen"] = (from_linen, {"module": linen.Dense(1)} | MODEL)
CALLS["from_nnx"] = (from_nnx, {"make_model": lambda rngs: nnx.Linear(2, 1, rngs=rngs)} | MODEL)
CALLS["from_equinox"] = (from_equinox, {"make_model": lambda key: equinox.nn.Linear(2, 1, key=key)} | MODEL)
NETWORKS = ("deep_linear", "modular_addition", "parity", "superposition")
PUBLIC = {f"{room}.{name}" for room in NETWORKS for name in ROOMS[room].__all__}
LEFT_OUT = {"deep_linear.Teacher"}
SPARED_EVERYWHERE = {"1e30"}  # of examples or neurons: no array is that long
SPARED = {
    "deep_linear.balanced_start": {("two of it", "strengths")},  # one a mode
    **{
        f"from_{library}": {("complex numbers", "examples")} for library in ("linen", "nnx", "equinox")
    },  # a complex loss
    "gradient_variance": {("a NaN in it", "params")},  # the noise is the same everywhere
    "landscapes.quartic": {("two of it", "curvature"), ("two of it", "coefficient")},  # one a direction
    # inputs: what `logits` takes, which says itself what it expects; a label that is NaN is no class
    "observables.accuracy": {"inputs", ("a NaN in it", "labels")},
    "observables.all_of": {("a ragged list", "params")},  # a pytree
    "observables.weight_norm": {("another structure", "params")},  # has a norm
    **{  # no logits: the label fits to none
        f"modular_addition.{name}": {("no entries", "logits")} for name in ("squared_error", "cross_entropy")
    },
    **{
        f"modular_addition.{name}": {("None", "weight_decay")} for name in ("quadratic", "embedding_mlp", "transformer")
    },
}
