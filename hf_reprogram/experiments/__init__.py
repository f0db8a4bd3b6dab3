"""Recipes and what is run from them. See `hf_reprogram.experiments.run.train`."""
