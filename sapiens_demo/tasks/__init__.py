"""The four tasks: each prepares a photo for its network and decodes the output into a typed result."""
