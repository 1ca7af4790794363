"""Steps to weights: the LightningModule, stages, schedules, callbacks, loggers."""
