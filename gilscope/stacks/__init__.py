"""Stacks with weights, as files for speedscope and as flame graphs."""
