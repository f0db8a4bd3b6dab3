"""One model: trained, applied, its features kept."""
