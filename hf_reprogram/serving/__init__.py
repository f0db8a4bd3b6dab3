"""A server of adapters over one frozen source, with the Hugging Face inference API's schema for classification.

`hf_reprogram.serving.batching` collects requests for a few milliseconds and answers them in one mixed batch, and
`hf_reprogram.serving.app` speaks HTTP. `hf_reprogram.serving.split` lets others train programs through the source.
"""
