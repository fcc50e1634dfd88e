//! Changed inputs: what a fuzzer without coverage makes of the inputs that it has.
//!
//! Owns the changes. They know no format, but numbers as bytes of any width and as varints. Never
//! draws from anything but the dice that it is given.

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _};

/// Changes that are made to one input, at most.
const CHANGES_MAX: u64 = 6;

/// Bytes that one change inserts or doubles, at most.
const PIECE_BYTES_MAX: usize = 64;

/// One input of the pool with a few changes.
pub(super) fn changed(pool: &[Vec<u8>], dice: &mut StdRng) -> Vec<u8> {
    let mut input = pool[below(pool.len(), dice)].clone();
    for _ in 0..dice.random_range(1..=CHANGES_MAX) {
        change(&mut input, pool, dice);
    }
    input.truncate(super::INPUT_BYTES_MAX);
    input
}

/// A place below `end`, 0 where there is none.
fn below(end: usize, dice: &mut StdRng) -> usize {
    dice.random_range(0..end.max(1))
}

/// A part of an input that begins at any place of it.
fn piece(input: &[u8], dice: &mut StdRng) -> std::ops::Range<usize> {
    let from = below(input.len(), dice);
    let len = below(PIECE_BYTES_MAX, dice) + 1;
    from..(from + len).min(input.len())
}

/// Numbers at which things go wrong, as bytes of any width and order.
fn odd_number(dice: &mut StdRng) -> Vec<u8> {
    let near = [0, 1, 7, 8, 15, 16, 31, 32, 63, 64].map(|bit| 1_u64 << bit.min(63));
    let number = match dice.random_range(0..4) {
        0 => u64::MAX.wrapping_sub(dice.random_range(0..3)),
        1 => near[below(near.len(), dice)].wrapping_sub(dice.random_range(0..2)),
        2 => i64::MAX
            .cast_unsigned()
            .wrapping_add(dice.random_range(0..2)),
        _ => dice.random_range(0..300),
    };
    let width = 1 << dice.random_range(0..4);
    match dice.random_range(0..3) {
        0 => number.to_be_bytes()[8 - width..].to_vec(),
        1 => number.to_le_bytes()[..width].to_vec(),
        _ => varint(number),
    }
}

/// A number as protobuf and the journal's records write it.
fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
    bytes
}

fn change(input: &mut Vec<u8>, pool: &[Vec<u8>], dice: &mut StdRng) {
    let at = below(input.len(), dice);
    let part = piece(input, dice);
    match dice.random_range(0..10) {
        0 | 1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << dice.random_range(0..8);
            }
        }
        2 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = byte.wrapping_add(dice.next_u64().to_le_bytes()[0]);
            }
        }
        3 => drop(input.drain(part)),
        4 => {
            let doubled = input[part].to_vec();
            input.splice(at..at, doubled);
        }
        5 => {
            let number = odd_number(dice);
            let end = (at + number.len()).min(input.len());
            input.splice(at..end, number);
        }
        6 => {
            let number = odd_number(dice);
            input.splice(at..at, number);
        }
        7 => {
            let other = &pool[below(pool.len(), dice)];
            let taken = other[piece(other, dice)].to_vec();
            input.splice(at..at, taken);
        }
        8 => {
            let other = &pool[below(pool.len(), dice)];
            input.truncate(at);
            input.extend_from_slice(&other[below(other.len(), dice)..]);
        }
        _ => input.truncate(at.max(1)),
    }
}
