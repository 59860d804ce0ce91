"""Measure how fast everything is, against what people run today, on this machine and in one run."""
