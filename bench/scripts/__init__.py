"""Scripts that make the embedded data and models, and prepare ImageNet."""
