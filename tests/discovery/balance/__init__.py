"""Tests of endpoints and balancers."""
