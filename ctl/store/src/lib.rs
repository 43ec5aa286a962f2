//! Where the broadcast domains live: the store's trait and the embedded store.
