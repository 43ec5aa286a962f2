//! Tests of what is compared, and of the figures.

mod check;
mod results;
mod workload;
