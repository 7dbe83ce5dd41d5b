"""Tests of `zkdisco.outputs` and of the verb `render`."""
