//! A sum of everything that happened: the same seed is the same run, byte for byte.
//!
//! Owns the mixing. Never keeps what it was told.

/// The sum with these bytes added.
#[must_use]
pub fn folded(sum: u64, bytes: &[u8]) -> u64 {
    let mut sum = sum;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        sum = mixed(sum, u64::from_le_bytes(word));
    }
    let mut rest = [0; 8];
    rest[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
    mixed(sum, u64::from_le_bytes(rest) ^ bytes.len() as u64)
}

/// The sum with a number added.
#[must_use]
pub const fn mixed(sum: u64, number: u64) -> u64 {
    let mixed = (sum ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}
