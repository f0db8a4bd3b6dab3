"""Recipes, and running them. Start at `hf_reprogram.experiments.run.train`."""
