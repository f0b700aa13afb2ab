"""Data: raw source -> one prepared file per data set -> batches and augmentation on the device."""
