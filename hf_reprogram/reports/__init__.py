"""Tables, plots and model cards, all of them made from results.json."""
