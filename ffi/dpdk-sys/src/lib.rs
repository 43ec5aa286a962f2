//! Raw bindings to the system's libdpdk, and nothing else.
