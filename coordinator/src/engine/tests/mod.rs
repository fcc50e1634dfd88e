//! Scripts: what the engine does, told as stories.
//!
//! Owns the script language ([`world::World`]) and one file of scripts per handler. Every line of a
//! script is checked with all invariants, and at the end of each the journal is replayed: what
//! comes out must equal what was there (I1, I7).

mod cancel;
mod cleaning;
mod dead;
mod dispatch;
mod enqueue;
mod idempotency;
mod keys;
mod producers;
mod queues;
mod recovery;
mod results;
mod resume;
mod reviewed;
mod rules;
mod seed;
mod sessions;
mod settle;
mod squall;
mod storm;
mod stress;
mod table;
mod timeouts;
mod unary;
mod unique;
mod world;
