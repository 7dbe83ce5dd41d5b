"""Tests of zkdisco."""
