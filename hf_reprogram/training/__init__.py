"""Training from a recipe with the stock Trainer. See `hf_reprogram.training.run.train`."""
