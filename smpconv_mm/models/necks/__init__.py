"""Necks that mmpretrain lacks."""

from .last_time_step import LastTimeStep

__all__ = ['LastTimeStep']
