//! What one seed is about: how many take part, how bad the weather is.
//!
//! Owns the draw. Different seeds leave out different things, because what never happens lets other
//! things happen often ("swarm testing", Groce et al., ISSTA 2012). Never looks at the run.

use std::sync::Arc;

use redrive_coordinator::engine::EngineConfig;
use redrive_coordinator::engine::retry::{Policy, presets};

use super::values;
use crate::Dice;

/// What one seed is about. Rates are per mille of the occasions that they speak of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Shards of the coordinator's state.
    pub shards: u16,
    /// Queues in use.
    pub queues: usize,
    /// Producers, each with one call at a time.
    pub producers: usize,
    /// Workers with a stream.
    pub workers: usize,
    /// Workers without one.
    pub unary: usize,
    /// Operators.
    pub operators: usize,
    /// Whether frames are synced before they are released.
    pub always: bool,
    /// The size of a segment of the journal.
    pub segment_bytes: u64,
    /// The longest usual delay of the network. Microseconds.
    pub net_us_max: u64,
    /// The longest usual time of a commit. Microseconds.
    pub disk_us_max: u64,
    /// Calls that are lost on their way there or back, each.
    pub lose: u64,
    /// Calls that arrive twice.
    pub repeat: u64,
    /// Streams that are cut, at each of a worker's acts.
    pub cut: u64,
    /// Workers that fall silent, at each of their acts.
    pub stall: u64,
    /// Workers that forget everything, at each of their acts.
    pub crash: u64,
    /// Messages of workers that are not true.
    pub lie: u64,
    /// Faults of the coordinator and its disk: the mean time between two. Microseconds; 0 for none.
    pub faults_us: u64,
    /// Which of the faults happen: a bit each, see [`super::faults`].
    pub faults: u64,
    /// Whether tasks carry terms, chains and follow-ups.
    pub terms: bool,
    /// Whether tasks carry keys, and calls request ids.
    pub keys: bool,
    /// Whether queues and kinds are configured.
    pub settings: bool,
    /// How long handlers take at most. Microseconds.
    pub work_us_max: u64,
    /// Handlers that do not succeed.
    pub fail: u64,
    /// The engine.
    pub engine: EngineConfig,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed ^ 0x5eed_0000);
        let dice = &mut dice;
        let shards = [1, 2, 3, 4][pick(dice, 4)];
        let grace_ms = [1500, 6000, 30_000][pick(dice, 3)];
        let engine = EngineConfig {
            shard_count: shards,
            seed: dice.any(),
            default_policy: default_policy(dice),
            ping_ms: grace_ms / 6,
            grace_ms,
            hard_margin_ms: [200, 2000, 10_000][pick(dice, 3)],
            memory_bytes_max: [60_000, 400_000, 1 << 30][pick(dice, 3)],
            finished_retention_ms: [2000, 60_000, 3_600_000][pick(dice, 3)],
            finished_per_queue_max: [1, 20, 1000][pick(dice, 3)],
            aging_ms: [0, 0, 3000][pick(dice, 3)],
        };
        let calm = dice.chance(150);
        let rate = |dice: &mut Dice, max: u64| if calm { 0 } else { draw_rate(dice, max) };
        Self {
            shards,
            queues: 1 + pick(dice, values::QUEUES.len()),
            producers: 1 + pick(dice, 3),
            workers: 1 + pick(dice, 4),
            unary: pick(dice, 3),
            operators: 1 + pick(dice, 2),
            always: dice.chance(750),
            segment_bytes: [16, 32, 64, 256][pick(dice, 4)] << 10,
            net_us_max: [200, 2000, 50_000][pick(dice, 3)],
            disk_us_max: [100, 500, 5000, 40_000][pick(dice, 4)],
            lose: rate(dice, 60),
            repeat: rate(dice, 80),
            cut: rate(dice, 15),
            stall: rate(dice, 6),
            crash: rate(dice, 6),
            lie: rate(dice, 60),
            faults_us: if calm {
                0
            } else {
                [0, 500_000, 3_000_000][pick(dice, 3)]
            },
            faults: dice.any(),
            terms: dice.chance(600),
            keys: dice.chance(600),
            settings: dice.chance(600),
            work_us_max: [500, 20_000, 2_000_000][pick(dice, 3)],
            fail: [0, 150, 500][pick(dice, 3)],
            engine,
        }
    }
}

fn pick(dice: &mut Dice, count: usize) -> usize {
    usize::try_from(dice.between(0, count as u64)).unwrap()
}

/// Nothing, a little, or much.
const fn draw_rate(dice: &mut Dice, max: u64) -> u64 {
    match dice.between(0, 3) {
        0 => 0,
        1 => max / 10 + 1,
        _ => max,
    }
}

/// One of the named policies, or a quick one.
fn default_policy(dice: &mut Dice) -> Arc<Policy> {
    let all = presets::all();
    if dice.chance(300) {
        Arc::clone(&all[pick(dice, all.len())])
    } else {
        values::policy(dice)
    }
}
