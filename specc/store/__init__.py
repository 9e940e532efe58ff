"""The database of runs: made from the run directories, asked in SQL, deleted without loss."""
