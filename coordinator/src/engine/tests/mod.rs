//! Scripts: what the engine does, told as stories.
//!
//! Owns the script language ([`world::World`]) and one file of scripts per handler. Every line of a
//! script is checked with all invariants, and at the end of each the journal is replayed: what
//! comes out must equal what was there (I1, I7).

mod acts;
mod aging;
mod beats;
mod cancel;
mod chains;
mod cleaning;
mod context;
mod dead;
mod dispatch;
mod ends;
mod enqueue;
mod expiry;
mod extend;
mod follow_ups;
mod idempotency;
mod keys;
mod kinds;
mod lanes;
mod levels;
mod lives;
mod many;
mod old_records;
mod once;
mod orders;
mod parts;
mod producers;
mod queues;
mod recovery;
mod results;
mod resume;
mod reviewed;
mod routing;
mod rules;
mod seed;
mod sessions;
mod settle;
mod squall;
mod storm;
mod storm_follow;
mod stress;
mod table;
mod timeouts;
mod traps;
mod unary;
mod unique;
mod versions;
mod world;
