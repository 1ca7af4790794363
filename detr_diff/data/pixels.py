"""From the bytes of a batch to the numbers that a model takes, on the device where it runs."""

from torch import Tensor

from detr_diff.data.dataset import Batch, ImageProcessor


def normalised(batch: Batch, processor: ImageProcessor) -> Tensor:
    """Rescale and normalise images as the model's image processor does.

    Bytes are a quarter of what floats are on their way from a loading process to a GPU, so it
    is done at its end.

    Args:
        batch: Images uint8 [B, C, H, W], C a multiple of 3.
        processor: Of the model.

    Returns:
        float32 [B, C, H, W], 0 on the padding.
    """
    pixels = processor.rescale_and_normalize(
        batch.images.unflatten(1, (-1, 3)).flatten(0, 1),
        processor.do_rescale,
        processor.rescale_factor,
        processor.do_normalize,
        processor.image_mean,
        processor.image_std,
    )
    return pixels.view(batch.images.shape).mul_(batch.masks[:, None])
