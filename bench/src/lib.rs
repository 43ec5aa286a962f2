//! Measurements of bcast.
