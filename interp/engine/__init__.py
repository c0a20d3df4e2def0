"""From an experiment to the rows of its table: what is missing, measuring it, resumably and in parallel."""
