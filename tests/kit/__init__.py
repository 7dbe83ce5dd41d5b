"""What several test files need: a world with a virtual clock, and servers that do as they are told."""
