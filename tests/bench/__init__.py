"""Benchmarks: ``python -m tests.bench`` prints what gilscope costs and how exact it is."""
