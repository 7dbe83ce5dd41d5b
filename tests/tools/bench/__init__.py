"""The benchmark: zkwire and zkdisco beside kazoo and a bare socket loop, in one interleaved run."""
