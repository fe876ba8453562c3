"""How fast and how cheap it all is, as ratios from one run: `make bench`; docs/benchmarks.md says how.

The gateway under test is pinned to core 0; the upstream and the load share core 1. Figures of two runs on a
busy machine differ by a quarter and more: read the ratios, not the figures. Nothing passes or fails.
"""
