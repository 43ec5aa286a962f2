//! The control contract: protobuf messages, client, and the validated model.
