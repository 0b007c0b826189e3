"""Training: one module per kind of scene, each with its loop, and the configuration they share."""
