//! Evidence to come.
