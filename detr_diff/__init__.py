"""Fine-tune DETR on the difference between two frames of a fixed camera."""

__version__ = "0.1.0"
