"""Files to batches: frame pairs, labels, diff images, splits, the LightningDataModule."""
