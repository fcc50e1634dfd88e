//! The rules of the house, as tests: sizes, arrows, forbidden words, docs that match the code.
//!
//! A rule that is only written down drifts. Each rule is a function from texts to findings, with
//! file, line and remedy, and has a test that shows it fail.

mod arrows;
mod cited;
mod clean;
mod finder;
mod heads;
mod links;
mod markdown;
mod registers;
mod rust;
mod sizes;
mod tables;
mod tree;
mod words;
