"""`scripts/benchmark`: the works, how they are timed, what is asked, and the table, in a file each."""
