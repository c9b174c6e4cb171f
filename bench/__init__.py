"""Benchmarks: every stage against the obvious implementation of it, as ratios of one run."""
