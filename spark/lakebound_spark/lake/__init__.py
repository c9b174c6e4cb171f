"""One driver for a lake: every step of its tables, each when it is due."""
