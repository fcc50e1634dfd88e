//! Fuzzed requests: whatever is asked, in whatever order, of the real services over a real engine, no
//! call panics, the invariants hold, and what was recorded makes the same state again.

use std::cell::RefCell;

use super::calls::make;
use super::samples;
use super::world::World;
use crate::fuzz::{Target, run};

/// Calls of an input, at most.
const CALLS_MAX: usize = 24;

thread_local! {
    static RUNTIME: RefCell<tokio::runtime::Runtime> = RefCell::new(
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap(),
    );
}

/// Makes the calls of an input: for each its number, the length of its request (two bytes,
/// little-endian) and the request.
async fn play(mut input: &[u8]) {
    let mut world = World::new();
    for _ in 0..CALLS_MAX {
        let Some(([number, low, high], rest)) = input.split_first_chunk() else {
            break;
        };
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (request, rest) = rest.split_at(len);
        input = rest;
        make(*number, request, &mut world).await;
    }
    world.check_replay();
}

fn check(input: &[u8]) {
    RUNTIME.with_borrow(|runtime| runtime.block_on(play(input)));
}

#[test]
fn whatever_is_asked_no_call_panics_and_the_invariants_hold() {
    let target = Target {
        corpus: "fuzz/requests",
        tries: 400,
        seeds: samples::seeds,
    };
    run(&target, check);
}
