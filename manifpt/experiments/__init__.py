"""One file a table or curve; each returns a tidy data frame (`manifpt.experiments.results`)."""
