//! The coordinator of Redrive: the engine decides, the journal remembers, the shell does.
//!
//! Read in this order: [`engine`] (pure: commands in, events and effects out), [`codec`] (events as
//! bytes), [`journal`] (what must be durable before anything is told), [`shell`] (the loop that runs
//! the engine, and the clock), [`server`] (gRPC and HTTP at the edge). `ARCHITECTURE.md` is the map.

pub mod codec;
pub mod config;
pub mod engine;
#[cfg(test)]
mod fuzz;
pub mod journal;
pub mod mutants;
pub mod run;
pub mod server;
pub mod shell;
pub mod telemetry;
