"""What is watched along a run: functions of what they hold and, last, the parameters.

`jax.tree_util.Partial(f, held)` makes one an observer of `simulate`; `all_of` watches several at once.
"""
