"""How weights start that come from no source."""

from torch import Tensor, nn

from detr_diff.choices import Init


def initialise(tensor: Tensor, how: Init) -> None:
    """Draw a new start for a weight, in place.

    Biases, norms and other vectors keep the start that the family gives them, and so does what it
    starts at zero on purpose, as the last layer of a box head.

    Args:
        tensor: A parameter or buffer.
        how: Glorot and Bengio 2010 (xavier), He et al. 2015, arXiv:1502.01852 (kaiming), or a
            normal distribution of deviation 0.02, cut off at two (trunc_normal).
    """
    if how is Init.default or tensor.ndim < 2 or not tensor.any():
        return
    if how is Init.xavier:
        nn.init.xavier_uniform_(tensor)
    elif how is Init.kaiming:
        nn.init.kaiming_normal_(tensor, mode="fan_out", nonlinearity="relu")
    else:
        nn.init.trunc_normal_(tensor, std=0.02, a=-0.04, b=0.04)
