"""Problems to study: landscapes and regressions."""
