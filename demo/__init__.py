"""Trying everything on one machine without a key: a stand-in provider, and the runner behind `make run`."""
