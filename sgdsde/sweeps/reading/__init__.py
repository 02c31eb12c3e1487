"""What a person reads of a finished sweep: averages over seeds and their verdicts, tables, figures, comparisons."""
