"""Pre-activation bounds and certified margins: one entry, three engines."""
