//! The control path: request, validate, commit, publish, answer.
