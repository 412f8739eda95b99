"""What agents told, in one vocabulary for all of them."""
