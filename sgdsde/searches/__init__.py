"""Search: the values of some fields at which a number of an experiment is smallest or largest."""
