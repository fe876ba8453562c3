"""A folder for PYTHONPATH, whose `sitecustomize` writes down whatever a Python process dials."""
