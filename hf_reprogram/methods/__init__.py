"""Methods: one file a paper, which says which transform, which mapping and which defaults. A new one is a line here."""

from ..registry import Registry

METHODS = Registry(
    "method",
    {
        "neekhara": "hf_reprogram.methods.neekhara:Neekhara",
        "reprogbert": "hf_reprogram.methods.reprogbert:ReprogBERT",
        "r2dl": "hf_reprogram.methods.r2dl:R2DL",
        "warp": "hf_reprogram.methods.warp:Warp",
    },
)
