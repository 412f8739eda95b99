"""Work that repeats: one shape for all services, one leader for what is done once for the whole fleet."""
