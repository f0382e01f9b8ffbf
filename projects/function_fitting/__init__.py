"""Fitting functions with self-moving points: the first experiment of SMPConv."""
