"""The algorithms, a file each; parallel/registry.py finds them."""
