"""Schedules of distillation, one file each."""
