"""Every public function, one wrong argument at a time: prints what is neither refused by name nor right.

    python fuzz.py of_predictions            wrong kinds only, which must be refused before any compute
    python fuzz.py of_predictions --sizes    wrong sizes and shapes too, of which some have a right answer

Run as a program of its own, because the tests check signatures, which would refuse much before the function does. A
refusal is a TypeError or ValueError raised by the package itself, whose message holds the argument's name; of a wrong
size that of any argument: a rate may be too large, or a curvature. What is not refused has to be right: NaN gives NaN
(or is refused), a number repeated in an array gives its answer repeated, and no size gives NaN.
"""

import importlib
import inspect
import signal
import sys
import traceback
import warnings

import jax
import numpy as np

KEY = jax.random.key(3)
KINDS = {"a complex number": 1j, "a text": "1", "None": None, "a key": KEY, "an object": object()}
NAN, INFINITE = {"NaN": np.nan}, {"infinity": np.inf, "-1": -1, "0": 0, "1e30": 1e30}
WHOLE = {"half": 2.5, "infinity": np.inf, "NaN": np.nan, "-1": -1, "0": 0, "1e30": 10**30}


def refusal(call, *names):
    """(None, result) of a call that returned, else (whether it is a refusal by name, what was said)."""
    signal.alarm(120)
    try:
        return None, call()
    except (TypeError, ValueError) as error:
        inside = [
            frame for frame in traceback.extract_tb(error.__traceback__) if "jax/_src/traceback_util" not in frame[0]
        ]
        own = "sgdsde" in inside[-1].filename and "site-packages" not in inside[-1].filename
        where = f"{inside[-1].filename.rsplit('/', 1)[-1]}:{inside[-1].lineno}"
        said = f"{type(error).__name__} at {where}: {str(error).splitlines()[0][:160]}"
        return own and any(name in str(error) for name in names), said
    except Exception as error:  # anything else is a finding
        return False, f"{type(error).__name__}: {str(error).splitlines()[0][:160] if str(error) else ''}"
    finally:
        signal.alarm(0)


def give_up(*_):
    raise TimeoutError("no answer within two minutes")


def numbers(result):
    """The floating-point numbers of a result, of any structure."""
    leaves = jax.tree.leaves(result)
    arrays = [
        np.asarray(leaf) for leaf in leaves if isinstance(leaf, int | float | np.ndarray | np.generic | jax.Array)
    ]
    return [array.astype(float) for array in arrays if array.dtype.kind in "iuf"]


def has_nan(result):
    return any(np.isnan(array).any() for array in numbers(result))


def is_repeated(result, single, shape):
    """Whether `result` is `single` repeated along leading axes of `shape`, leaf by leaf."""
    pairs = list(zip(numbers(result), numbers(single), strict=True))
    return all(
        many.shape == (*shape, *one.shape) and np.allclose(many, one, rtol=1e-4, atol=1e-30, equal_nan=True)
        for many, one in pairs
    )


def is_numeric(value):
    if isinstance(value, list | tuple):
        return all(isinstance(each, int | float) for each in value)
    if isinstance(value, bool) or (
        isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key)
    ):
        return False
    return isinstance(value, int | float | np.ndarray | jax.Array)


def wrong_kinds(right, may_be_flags):
    """Wrong kinds of thing for a number, an array of numbers, a function or a text."""
    if isinstance(right, str):
        return {"another text": "bogus", "a number": 3, "None": None}
    if not is_numeric(right):
        others = {"a number": 3, "None": None, "a text": "1", "another structure": {"other": np.ones(2)}}
        is_pytree = type(right) in (dict, list, tuple) and all(map(is_numeric, jax.tree.leaves(right)))
        return others | ({"complex numbers": jax.tree.map(lambda leaf: leaf * 1j, right)} if is_pytree else {})
    kinds = dict(KINDS)
    if np.ndim(right) == 0:
        return kinds | {"a truth value": True}
    kinds["complex numbers"] = np.asarray(right) * (1 + 1j)
    kinds["texts"] = np.asarray(right).astype(str)
    kinds["a ragged list"] = [1.0, [2.0, 3.0]]
    if may_be_flags:
        kinds.pop("complex numbers") if np.asarray(right).dtype == bool else None
    return kinds


def wrong_sizes(right):
    if not is_numeric(right):
        return {}
    if isinstance(right, int) and not isinstance(right, bool):
        return WHOLE | {"an empty list": [], "two of it": [right, right]}
    if np.ndim(right) == 0:
        repeated = {"two of it": [right, right], "(3, 1, 2) of it": np.full((3, 1, 2), right)}
        return NAN | INFINITE | {"an empty list": []} | repeated
    array = np.asarray(right, float) if np.asarray(right).dtype.kind in "iufb" else None
    if array is None:
        return {}
    broken = array.copy()
    broken.flat[0] = np.nan
    ends = {"one axis more": array[None, None, None], "no entries": np.zeros((0, *array.shape[1:])), "a number": 0.5}
    return {"a NaN in it": broken, "an infinity in it": np.where(np.isnan(broken), np.inf, array)} | ends


def findings(function, name, right, with_sizes, spared):
    """What is wrong, one line each, with argument `name` of `function` replaced, all others as in `right`."""
    positional = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.POSITIONAL_ONLY]

    def call(value):
        options = right | {name: value}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return jax.block_until_ready(function(*(options.pop(each) for each in positional), **options))

    default = inspect.signature(function).parameters[name].default
    for what, value in wrong_kinds(right[name], spared).items():
        if (value is None and default is None) or (what, name) in spared or what in spared:
            continue
        said, found = refusal(lambda value=value: call(value), name)
        if not said:
            yield f"{name} = {what}: {'accepted' if said is None else found}"
    for what, value in wrong_sizes(right[name]).items() if with_sizes else ():
        if (what, name) in spared or what in spared:
            continue
        said, found = refusal(lambda value=value: call(value), *right)
        if said is None and "NaN" in what and not has_nan(found) and numbers(found):
            yield f"{name} = {what}: answered without a NaN, {found}"
        elif said is None and what.endswith(" of it") and not is_repeated(found, call(right[name]), np.shape(value)):
            yield f"{name} = {what}: accepted, and not the answer repeated, {found}"
        elif said is None and what in INFINITE and has_nan(found):
            yield f"{name} = {what}: answered with NaN, {found}"
        elif said is False:
            yield f"{name} = {what}: {found}"


def main(table, *options):
    if "--x64" in options:
        jax.config.update("jax_enable_x64", True)
    signal.signal(signal.SIGALRM, give_up)
    module = importlib.import_module(table)
    missing = sorted(set(module.PUBLIC) - set(module.CALLS) - set(module.LEFT_OUT))
    for name in missing:
        print(f"{name}: no right call of it in the table")
    only = [each for each in options if not each.startswith("--")]
    for name, (function, right) in module.CALLS.items():
        if only and name not in only:
            continue
        if "--sizes" in options:  # else nothing is computed
            said, found = refusal(lambda function=function, right=right: right_answer(function, right), name)
            if said is not None:
                print(f"{name}: the right call fails, {found}", flush=True)
                continue
        spared = module.SPARED.get(name, set()) | getattr(module, "SPARED_EVERYWHERE", set())
        for argument in right:
            if argument not in spared:
                for line in findings(function, argument, right, "--sizes" in options, spared):
                    print(f"{name}: {line}", flush=True)


def right_answer(function, right):
    positional = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.POSITIONAL_ONLY]
    options = dict(right)
    return function(*(options.pop(each) for each in positional), **options)


if __name__ == "__main__":
    main(*sys.argv[1:])
