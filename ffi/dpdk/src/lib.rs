//! The part of DPDK that bcast uses, safe and small.
