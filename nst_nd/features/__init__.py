"""Extractors, statistics and costs."""
