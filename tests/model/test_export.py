"""What transformers makes of a model that was written for it."""

from pathlib import Path

import pytest
import torch
from transformers import AutoImageProcessor, AutoModelForObjectDetection

from detr_diff.errors import SettingError
from detr_diff.model.architecture import build_processor
from detr_diff.model.export import save_pretrained
from detr_diff.model.folded_batch_norm import fold_batch_norms
from detr_diff.model.load import load_model
from tests.model.tiny_models import FAMILIES, MODELS, first_of

# Their batch norms hold the activation, which transformers forgets.
WITH_ACTIVATIONS = ("efficientnet_b0", "mobilenetv3_small_100")


@pytest.mark.parametrize("key", first_of(MODELS))
def test_it_predicts_the_same(key: str, tmp_path: Path) -> None:
    name, config = MODELS[key]
    config = {**config, "auxiliary_loss": True}
    model, architecture, _ = load_model(name, ["person", "car"], config=config)
    fold_batch_norms(model)
    folder = tmp_path / "weights"
    if key.endswith(WITH_ACTIVATIONS):
        with pytest.raises(SettingError, match="transformers builds this backbone otherwise"):
            save_pretrained(model, architecture, build_processor(architecture), folder)
        assert not folder.exists()
        return
    save_pretrained(model, architecture, build_processor(architecture), folder)
    theirs = AutoModelForObjectDetection.from_pretrained(folder)
    assert type(theirs).__module__.startswith("transformers.")
    assert theirs.config.id2label == {0: "person", 1: "car"}
    assert model.config.auxiliary_loss
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        for name in ("logits", "pred_boxes"):
            expected, found = (getattr(one.eval()(pixel_values=images), name) for one in (model, theirs))
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert AutoImageProcessor.from_pretrained(folder).size == build_processor(architecture).size
    with pytest.raises(SettingError, match="exists and is never overwritten"):
        save_pretrained(model, architecture, build_processor(architecture), folder)


def test_a_model_that_transformers_has_not_is_refused(tmp_path: Path) -> None:
    model, architecture, _ = load_model("detr", ["a"], config=FAMILIES["detr"], modification={"adapter": 16})
    with pytest.raises(SettingError, match="model.modification: no model of transformers"):
        save_pretrained(model, architecture, None, tmp_path / "weights")
