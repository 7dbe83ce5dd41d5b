"""A pure-Python ZooKeeper client."""
