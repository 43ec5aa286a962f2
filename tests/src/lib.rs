//! End-to-end tests over network namespaces.
