//! Broadcast domains and the lock-free table that workers read them from.
