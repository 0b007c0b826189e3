"""Where Gaussians are added, moved and taken away while they are trained."""
