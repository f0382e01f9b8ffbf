"""Helpers around files and environments."""
