"""The jobs' command lines. `spark/jobs/*.py` and the wheel's entry points both call `main` here."""
