"""A long run under mixed faults that ends with the conservation check and a plot of memory (`make soak`)."""
