"""What differs between the DETR variants, in one table. Adding a family is one row."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import transformers

from detr_diff.errors import SettingError, nearest
from detr_diff.model.cuts import (
    DETR_DECODER,
    DETR_ENCODER,
    FEATURE_MAPS,
    HYBRID_ENCODER,
    LAST_FEATURE_MAP,
    Cut,
)

# In every family the backbone is here; which of its parts belong to which block, see backbone.py.
BACKBONE = "model.backbone.model."

DENSE_STRIDES = (4, 8, 16, 32)
PYRAMID_STRIDES = (8, 16, 32)


class Scores(StrEnum):
    """How logits become scores.

    softmax: over the classes and no-object, the last; sigmoid: each class for itself.
    """

    softmax = "softmax"
    sigmoid = "sigmoid"


class ClassLoss(StrEnum):
    """How classes are learnt; the rest of the loss hangs on it, see training/criterion.py.

    cross_entropy: over the classes and no-object, divided by the (weighted) number of queries;
    focal: each class for itself; varifocal: as that, the wanted score is the overlap of the box;
    transformers: the library's own loss. All but the first are divided by the number of true boxes,
    as the box losses of every family are.
    """

    cross_entropy = "cross_entropy"
    focal = "focal"
    varifocal = "varifocal"
    transformers = "transformers"


@dataclass(frozen=True)
class Family:
    """One DETR variant.

    Attributes:
        config: Name of its configuration class in transformers.
        model: Name of its detection class in transformers.
        processor: Name of its image processor class in transformers.
        scores: Whether its logits are for softmax or sigmoid.
        class_loss: How its classes are learnt.
        blocks: Block to regular expression of parameter names above the backbone; the first match wins.
        class_rows: Tensors with a row for each class; a row more is the last, for no-object or padding.
        query_rows: The tensors with one row for each query.
        fixed: The parameters that never learn in any block.
        strides: The levels that it takes from a timm backbone.
        multiple_of: What height and width of the input must be a multiple of.
        frozen_batch_norm: The setting that freezes batch norm of the backbone; None: always frozen.
        cuts: Where what is below can be frozen and its outputs kept.
        names_layer: Whether its heads are told for which decoder layer they are asked.
        most_predictions: Of an image; None: as many as it has queries.
        autocast_without_gradient: Parts that are autocast where nothing learns, see autocast.py.
    """

    config: str
    model: str
    processor: str
    scores: Scores
    class_loss: ClassLoss
    blocks: dict[str, str]
    class_rows: str
    query_rows: str
    fixed: str | None = None
    strides: tuple[int, ...] = DENSE_STRIDES
    multiple_of: int = 1
    frozen_batch_norm: str | None = None
    cuts: tuple[Cut, ...] = (FEATURE_MAPS,)
    names_layer: bool = True
    most_predictions: int | None = None
    autocast_without_gradient: tuple[str, ...] = ()

    @property
    def single_level(self) -> bool:
        """Whether only the last level of the backbone is looked at."""
        return LAST_FEATURE_MAP in self.cuts

    @property
    def sees_padding(self) -> bool:
        """Whether it looks at the mask of a padded image. RT-DETR and its kin take all for the picture."""
        return self.multiple_of == 1

    @property
    def config_class(self) -> Any:
        """The configuration class."""
        return getattr(transformers, self.config)

    @property
    def model_class(self) -> Any:
        """The detection class."""
        return getattr(transformers, self.model)

    @property
    def processor_class(self) -> Any:
        """The image processor class."""
        return getattr(transformers, self.processor)


_SINGLE_LEVEL = {
    "input_projection": r"model\.input_projection\.",
    "encoder": r"model\.(encoder|position_embedding)\.",
    "decoder": r"model\.decoder\.",
    "queries": r"model\.query_position_embeddings\.",
    "class_head": r"class_labels_classifier\.",
    "box_head": r"bbox_predictor\.",
}
# The queries are picked from the encoder by enc_output. D-FINE corrects its scores by the quality
# of its boxes (lqe_layers).
_REAL_TIME = {
    "input_projection": r"model\.encoder_input_proj\.",
    "encoder": r"model\.encoder\.",
    "class_head": r"(model\.(enc_score_head|denoising_class_embed|decoder\.(class_embed|lqe_layers))"
    r"|class_embed)\.",
    "box_head": r"(model\.(enc_bbox_head|decoder\.(bbox_embed|pre_bbox_head))|bbox_embed)\.",
    "decoder": r"model\.(decoder|decoder_input_proj)\.",
    "queries": r"model\.(enc_output|weight_embedding)\.",
}
_REAL_TIME_CLASS_ROWS = (
    r"(model\.(enc_score_head|denoising_class_embed)|(model\.decoder\.)?class_embed\.\d+(\.own\.0)?)"
    r"\.(weight|bias)"
)
_REAL_TIME_AUTOCAST = ("encoder_input_proj", "decoder_input_proj", "enc_output", "decoder")

FAMILIES = {
    # Carion et al. 2020, arXiv:2005.12872
    "detr": Family(
        config="DetrConfig",
        model="DetrForObjectDetection",
        processor="DetrImageProcessor",
        scores=Scores.softmax,
        class_loss=ClassLoss.cross_entropy,
        blocks=_SINGLE_LEVEL,
        class_rows=r"class_labels_classifier\.(own\.\d+\.)?(weight|bias)",
        query_rows=r"model\.query_position_embeddings\.weight",
        cuts=(LAST_FEATURE_MAP, DETR_ENCODER, DETR_DECODER),
        autocast_without_gradient=("decoder",),
    ),
    # Meng et al. 2021, arXiv:2108.06152
    "conditional_detr": Family(
        config="ConditionalDetrConfig",
        model="ConditionalDetrForObjectDetection",
        processor="ConditionalDetrImageProcessor",
        scores=Scores.sigmoid,
        class_loss=ClassLoss.focal,
        blocks=_SINGLE_LEVEL,
        class_rows=r"class_labels_classifier\.(weight|bias)",
        query_rows=r"model\.query_position_embeddings\.weight",
        cuts=(LAST_FEATURE_MAP,),
        names_layer=False,
        most_predictions=100,
    ),
    # Zhu et al. 2021, arXiv:2010.04159. Without two_stage a query is an embedding and a point.
    "deformable_detr": Family(
        config="DeformableDetrConfig",
        model="DeformableDetrForObjectDetection",
        processor="DeformableDetrImageProcessor",
        scores=Scores.sigmoid,
        class_loss=ClassLoss.focal,
        blocks={
            "input_projection": r"model\.input_proj\.",
            "encoder": r"model\.(encoder\.|position_embedding\.|level_embed$)",
            "class_head": r"(model\.decoder\.)?class_embed\.",
            "box_head": r"(model\.decoder\.)?bbox_embed\.",
            "decoder": r"model\.decoder\.",
            "queries": r"model\.(query_position_embeddings|reference_points|enc_output|enc_output_norm"
            r"|pos_trans|pos_trans_norm)\.",
        },
        class_rows=r"(model\.decoder\.)?class_embed\.\d+\.(own\.0\.)?(weight|bias)",
        query_rows=r"model\.query_position_embeddings\.weight",
        strides=PYRAMID_STRIDES,
        most_predictions=100,
    ),
    # Zhao et al. 2023, arXiv:2304.08069
    "rt_detr": Family(
        config="RTDetrConfig",
        model="RTDetrForObjectDetection",
        processor="RTDetrImageProcessor",
        scores=Scores.sigmoid,
        class_loss=ClassLoss.varifocal,
        blocks=_REAL_TIME,
        class_rows=_REAL_TIME_CLASS_ROWS,
        query_rows=r"model\.weight_embedding\.weight",
        strides=PYRAMID_STRIDES,
        multiple_of=32,
        frozen_batch_norm="freeze_backbone_batch_norms",
        cuts=(FEATURE_MAPS, HYBRID_ENCODER),
        autocast_without_gradient=_REAL_TIME_AUTOCAST,
    ),
    # Lv et al. 2024, arXiv:2407.17140
    "rt_detr_v2": Family(
        config="RTDetrV2Config",
        model="RTDetrV2ForObjectDetection",
        processor="RTDetrImageProcessor",
        scores=Scores.sigmoid,
        class_loss=ClassLoss.varifocal,
        blocks=_REAL_TIME,
        class_rows=_REAL_TIME_CLASS_ROWS,
        query_rows=r"model\.weight_embedding\.weight",
        strides=PYRAMID_STRIDES,
        multiple_of=32,
        frozen_batch_norm="freeze_backbone_batch_norms",
        autocast_without_gradient=_REAL_TIME_AUTOCAST,
    ),
    # Peng et al. 2024, arXiv:2410.13842. Two constants of its box distribution are parameters, and it
    # has two more losses, which distil the distributions of the last layer into the others.
    "d_fine": Family(
        config="DFineConfig",
        model="DFineForObjectDetection",
        processor="RTDetrImageProcessor",
        scores=Scores.sigmoid,
        class_loss=ClassLoss.transformers,
        blocks=_REAL_TIME,
        class_rows=_REAL_TIME_CLASS_ROWS,
        query_rows=r"model\.weight_embedding\.weight",
        fixed=r"model\.decoder\.(reg_scale|up)$",
        strides=PYRAMID_STRIDES,
        multiple_of=32,
        frozen_batch_norm="freeze_backbone_batch_norms",
    ),
}


def family(name: str) -> Family:
    """The family of that name.

    Raises:
        SettingError: There is none.
    """
    if name not in FAMILIES:
        raise SettingError(f"model.family={name}: unknown, {nearest(name, FAMILIES)}")
    return FAMILIES[name]
