"""Compute estimators, intervals and comparisons over plain arrays; numpy and scipy only."""
