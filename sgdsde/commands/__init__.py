"""What each command of `sgdsde` does. At the top of these files nothing heavy is imported: `--help` answers at once."""
