"""What the tests of discovery share: a model of ZooKeeper for the cores, and waiting for the live ones."""
