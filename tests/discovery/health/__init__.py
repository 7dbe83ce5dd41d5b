"""Tests of `zkdisco.health`, of gated registrars, and of the sidecar."""
