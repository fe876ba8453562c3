"""How fast the proxy is, beside a direct call and beside nginx, as ratios from one run: `make bench`.

The gateway under test is pinned to core 0; the demo provider and the load share core 1. Figures of two runs
on a busy machine differ by a quarter and more: read the ratios, not the figures. Nothing passes or fails.
"""
