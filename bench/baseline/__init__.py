"""The obvious implementation of every stage, written with care and without tricks: what the ratios are against."""
