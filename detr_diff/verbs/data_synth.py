"""`detr-diff data synth`: generate scenes."""

from pathlib import Path

from omegaconf import DictConfig

from detr_diff.compose import plain
from detr_diff.data.new_folder import new_folder
from detr_diff.data.progress import progress
from detr_diff.data.synthetic import SceneSettings, generate
from detr_diff.errors import SettingError


def run(settings: DictConfig) -> int:
    """Write the data set into a new folder; a stopped run leaves nothing under its name."""
    chosen = plain(settings)
    out = Path(chosen["out"]).expanduser()
    pairs, scenes = chosen["pairs"], chosen["scenes"]
    if scenes > pairs:
        raise SettingError(f"scenes={scenes}: at most the number of pairs, {pairs}")
    fields = {key: chosen[key] for key in SceneSettings.__dataclass_fields__}
    with new_folder(out) as folder:
        work = generate(folder, pairs, scenes, SceneSettings(**fields))
        for _ in progress(work, "generating pairs", pairs):
            pass
    print(f"{pairs} pairs of {scenes} scenes in {out}")
    return 0
