"""Problems to study: landscapes, regressions and networks."""
