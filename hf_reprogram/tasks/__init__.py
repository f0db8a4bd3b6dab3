"""Target tasks: their data, label names and metrics. Start at `hf_reprogram.tasks.load.load_task`."""
