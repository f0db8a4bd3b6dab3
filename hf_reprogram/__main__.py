"""`python -m hf_reprogram`, and `accelerate launch -m hf_reprogram`."""

from .cli import main

if __name__ == "__main__":
    main()
