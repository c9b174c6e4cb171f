"""The backfill: its state machine, its segments' workers, and what it keeps in the run's folder."""
