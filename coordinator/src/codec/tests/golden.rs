//! The format does not drift: bytes that were written once are read, and written, for ever.

use std::fmt::Write as _;

use super::samples::{self, kind_of};
use super::{encoded, kept};
use crate::codec::Decoder;
use crate::engine::event::Recorded;

/// One sample a line: the kind, and its bytes in hexadecimal. As they were first.
const FIRST: &str = include_str!("golden/records.hex");
/// What came with Lifecycle.
const SECOND: &str = include_str!("golden/records-2.hex");
/// Kinds that got another number since: the old one is read, with what it did not say left out.
const WRITTEN_OTHERWISE_NOW: &[&str] = &["QueuePaused", "CancelRequested", "TaskRedriven"];

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
fn what_was_written_once_is_read_for_ever_and_written_the_same() {
    check(&samples::second(), SECOND, &[]);
    check(&samples::first(), FIRST, WRITTEN_OTHERWISE_NOW);
}

fn check(samples: &[Recorded], golden: &str, otherwise: &[&str]) {
    let lines: Vec<String> = samples
        .iter()
        .map(|sample| format!("{} {}", kind_of(&sample.event), hex(&encoded(sample))))
        .collect();
    let drifted = golden.lines().zip(&lines).any(|(golden, line)| {
        let kind = golden.split(' ').next().unwrap();
        golden != line && !otherwise.contains(&kind)
    });
    assert!(
        !drifted && golden.lines().count() == lines.len(),
        "the format of records never changes: a new kind or sample is added, with its line.\n\
         the golden file as the code would have it:\n{}",
        lines.join("\n")
    );
    let mut decoder = Decoder::new();
    for (sample, line) in samples.iter().zip(golden.lines()) {
        let (_, hex) = line.split_once(' ').unwrap();
        assert_eq!(decoder.decode(&bytes(hex)), Ok(kept(sample)));
    }
}
