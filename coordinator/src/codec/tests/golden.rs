//! The format does not drift: bytes that were written once are read, and written, for ever.

use std::fmt::Write as _;

use super::samples::{self, kind_of};
use super::{encoded, kept};
use crate::codec::Decoder;

/// One sample a line: the kind, and its bytes in hexadecimal.
const GOLDEN: &str = include_str!("golden/records.hex");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

#[test]
fn what_was_written_once_is_read_and_written_the_same() {
    let samples = samples::all();
    let lines: Vec<String> = samples
        .iter()
        .map(|sample| format!("{} {}", kind_of(&sample.event), hex(&encoded(sample))))
        .collect();
    assert!(
        GOLDEN.lines().eq(lines.iter().map(String::as_str)),
        "the format of records never changes: a new kind or sample is added, with its line.\n\
         golden/records.hex as the code would have it:\n{}",
        lines.join("\n")
    );
    let mut decoder = Decoder::new();
    for (sample, line) in samples.iter().zip(GOLDEN.lines()) {
        let (_, hex) = line.split_once(' ').unwrap();
        assert_eq!(decoder.decode(&bytes(hex)), Ok(kept(sample)));
    }
}
