//! Tests of what pktgen counts, makes and is told.

mod flow;
mod frames;
mod ledger;
mod search;
mod settings;
