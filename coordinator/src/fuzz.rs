//! The engine of this crate's fuzz targets, which stand in the tests of the room that they fuzz.
//!
//! Owns nothing: the files are those of `redrive-tests`, which this crate cannot depend on, for that
//! depends on it.

#[expect(dead_code, unreachable_pub, reason = "compiled here as it is")]
#[path = "../../tests/src/dice.rs"]
mod dice;
#[expect(unreachable_pub, reason = "compiled here as it is")]
#[path = "../../tests/src/fuzz/mod.rs"]
mod engine;

pub(crate) use engine::Target;

/// Fuzzes something of this crate.
pub(crate) fn run(target: &Target<'_>, check: fn(&[u8])) {
    engine::run(env!("CARGO_MANIFEST_DIR"), target, check);
}
