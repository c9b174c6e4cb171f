"""Worlds, doubles and builders that more than one folder of tests uses. No test module is imported; this is."""
