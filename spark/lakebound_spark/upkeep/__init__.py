"""Upkeep: purge, compaction, and the sweep of rows that the source no longer has."""
