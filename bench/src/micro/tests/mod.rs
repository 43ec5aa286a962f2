//! Tests of the measurement itself.

mod contenders;
mod cores;
mod results;
