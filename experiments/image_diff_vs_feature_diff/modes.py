"""The ways to compare two frames that are studied: what the table calls them, and their settings."""

FEATURE = "model.input=feature_diff"

MODES = {
    "image abs": ["data.diff=abs"],
    "image signed": ["data.diff=signed"],
    "image stack": ["data.diff=stack"],
    "feature abs": [FEATURE, "model.feature_diff.compare=abs"],
    "feature signed": [FEATURE, "model.feature_diff.compare=signed"],
    "feature concat": [FEATURE, "model.feature_diff.compare=concat"],
    "feature cross_attention": [FEATURE, "model.feature_diff.compare=cross_attention"],
}
