"""Importers and exporters, one file for each outside format."""
