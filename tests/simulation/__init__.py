"""The proof machinery: simulated histories, exhaustive small scopes, the hop model and the mutants."""
