"""Batch to predictions: the DETR families, loading them, their blocks."""
