"""Where Gaussians are added, moved and taken away: pure functions of parameters and statistics."""
