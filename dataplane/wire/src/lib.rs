//! Headers, verdicts, drop reasons and encapsulation: pure functions over bytes.
