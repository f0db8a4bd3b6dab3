"""Looking at a reprogrammed model: inspection, plots."""
