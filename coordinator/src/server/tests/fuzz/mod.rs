//! Fuzzed edges: whatever bytes a stranger sends are refused or parsed, and never panic.
//!
//! Owns one target a file, whose inputs are in `coordinator/fuzz`.

mod calls;
mod filters;
mod policies;
mod requests;
mod samples;
mod text;
mod world;
