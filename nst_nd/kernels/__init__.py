"""Numerical kernels; the plain torch definition of each."""
