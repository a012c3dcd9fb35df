"""One LightningDataModule a data set."""
