"""The main job on every interpreter of this machine, and in every way to run one: `make matrix`."""
