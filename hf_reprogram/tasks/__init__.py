"""Target tasks: data, label names and metrics. See `hf_reprogram.tasks.load.load_task`."""
