"""Benchmarks: what Paystate does, as ratios against a bare peer or a limit measured in the same run."""
