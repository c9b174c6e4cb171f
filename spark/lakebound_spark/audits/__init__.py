"""Audits that would expose a wrong assumption."""
