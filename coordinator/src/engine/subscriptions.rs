//! The queues that a worker serves, and whose turn it is.
//!
//! Owns the shares of a worker's queues (I16). Never looks at tasks: who is ready is told. Invariant:
//! of two queues that are ready all the time, the turns divided by the weights differ by at most one
//! turn of each, from any moment to any other.

use crate::mutants::{self, Mutant};

use super::command::WorkerInfo;
use super::ids::{QueueName, ShardId, TaskId};

/// What a turn costs a queue of weight 1, in units of virtual time.
const TURN_COST: i64 = 1 << 40;

/// A queue that somebody serves.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    pub(super) queue: QueueName,
    pub(super) shard: ShardId,
    weight: u32,
    /// How far it was served ahead of the one that had the latest turn, in virtual time.
    ahead: i64,
}

/// A queue that has something ready, by its index, and its first task.
pub(super) type Ready = (usize, TaskId);

impl Subscription {
    pub(super) fn of(info: &WorkerInfo, shard_count: u16) -> Vec<Self> {
        let subscription = |(queue, weight): &(QueueName, u32)| Self {
            queue: queue.clone(),
            shard: queue.shard(shard_count),
            weight: *weight,
            ahead: 0,
        };
        info.queues.iter().map(subscription).collect()
    }
}

/// Which of those marked has its turn, by start-time fair queueing (P. Goyal, H. Vin, H. Cheng,
/// SIGCOMM 1996): a turn takes a queue of weight `w` a `w`-th of virtual time ahead, and the one
/// that is least ahead is next. Of two queues that are ready all the time, turns divided by weights
/// never differ by more than one turn of each, whatever the others do. `had_turn` is told of it.
pub(super) fn whose_turn(queues: &[Subscription], ready: &[Ready]) -> Option<Ready> {
    let ready = ready.iter().copied();
    ready.min_by_key(|(index, _)| (queues[*index].ahead, *index))
}

/// A queue has had its turn. One that was behind had nothing that could be given: it saves up nothing.
pub(super) fn had_turn(queues: &mut [Subscription], index: usize) {
    let now = queues[index].ahead;
    let saves = mutants::is(Mutant::IdleTurnsSaved);
    for queue in queues.iter_mut() {
        queue.ahead -= now;
        if !saves {
            queue.ahead = queue.ahead.max(0);
        }
    }
    let ignored = mutants::is(Mutant::WeightsIgnored);
    let queue = &mut queues[index];
    queue.ahead = turn_cost(if ignored { 1 } else { queue.weight });
}

/// How far a turn takes a queue of this weight ahead.
fn turn_cost(weight: u32) -> i64 {
    TURN_COST / i64::from(weight.max(1))
}

/// The queues of a session that has come back: those that it served before are as far ahead as they
/// were, or a worker that loses its stream again and again would always begin with the first one. None
/// is further ahead than a turn takes it by its present weight.
pub(super) fn go_on(queues: &mut [Subscription], before: &[Subscription]) {
    for queue in queues {
        let known = before.iter().find(|known| known.queue == queue.queue);
        let ahead = known.map_or(0, |known| known.ahead);
        queue.ahead = ahead.min(turn_cost(queue.weight));
    }
}

/// One of those marked by lot, in proportion to the weights: whose turn it is where nobody remembers
/// the turns before.
pub(super) fn by_lot(queues: &[Subscription], ready: &[Ready], random: u64) -> Option<Ready> {
    let weight = |(index, _): &Ready| u64::from(queues[*index].weight);
    let mut left = random.checked_rem(ready.iter().map(weight).sum())?;
    let mut ready = ready.iter().copied();
    ready.find(|one| match left.checked_sub(weight(one)) {
        Some(rest) => {
            left = rest;
            false
        }
        None => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker_of(queues: &[(&str, u32)]) -> Vec<Subscription> {
        let name = |queue| QueueName::new("default", queue).unwrap();
        let queues = queues.iter();
        let info = WorkerInfo {
            namespace: "default".into(),
            worker: "w".into(),
            version: "".into(),
            host: "".into(),
            queues: queues.map(|(queue, w)| (name(queue), *w)).collect(),
            kinds: Vec::new(),
            proposals: Vec::new(),
        };
        Subscription::of(&info, 1)
    }

    /// The turns of those that are ready, so many.
    fn turns(queues: &mut [Subscription], ready: &[usize], count: usize) -> Vec<usize> {
        let ready: Vec<_> = ready.iter().map(|index| (*index, TaskId::MIN)).collect();
        let mut turn = || {
            let (index, _) = whose_turn(queues, &ready)?;
            had_turn(queues, index);
            Some(index)
        };
        (0..count).map_while(|_| turn()).collect()
    }

    #[test]
    fn queues_take_turns_by_their_weights() {
        let mut queues = worker_of(&[("a", 3), ("b", 1)]);
        assert_eq!(turns(&mut queues, &[0, 1], 8), [0, 1, 0, 0, 0, 1, 0, 0]);
        assert!(turns(&mut queues, &[], 1).is_empty());
    }

    #[test]
    fn an_idle_queue_costs_nobody_a_turn_and_saves_up_none() {
        let mut queues = worker_of(&[("a", 1), ("b", 1)]);
        assert_eq!(turns(&mut queues, &[1], 50), [1; 50]);
        assert_eq!(turns(&mut queues, &[0, 1], 5), [0, 0, 1, 0, 1]);
    }

    #[test]
    fn a_turn_beside_a_heavy_queue_is_not_paid_for_when_that_is_empty() {
        let mut queues = worker_of(&[("a", 1), ("b", 1), ("heavy", 1000)]);
        assert_eq!(turns(&mut queues, &[0, 2], 1), [0]);
        let got = turns(&mut queues, &[0, 1], 10);
        assert_eq!(got.iter().filter(|index| **index == 0).count(), 5);
    }

    #[test]
    fn shares_stay_within_one_turn_of_each_whatever_the_others_do() {
        let weights = [1, 2, 7, 1000, 31];
        let named: Vec<_> = ["a", "b", "c", "d", "e"].into_iter().zip(weights).collect();
        let mut queues = worker_of(&named);
        let mut dice: u64 = 7;
        for _ in 0..200 {
            let (mut apart, mut lowest, mut highest) = (0, 0, 0);
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (one, two) = ((dice >> 33) as usize % 5, (dice >> 40) as usize % 5);
            for step in 0..400 {
                dice = dice
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(step);
                let others = dice >> 50;
                let is_ready = |index| index == one || index == two || others >> index & 1 == 1;
                let ready: Vec<usize> = (0..5).filter(|index| is_ready(*index)).collect();
                let had = turns(&mut queues, &ready, 1)[0];
                let (w1, w2) = (i64::from(weights[one]), i64::from(weights[two]));
                apart += i64::from(had == one) * w2 - i64::from(had == two) * w1;
                (lowest, highest) = (apart.min(lowest), apart.max(highest));
                assert!(
                    highest - lowest <= w1 + w2,
                    "{one} and {two} of {weights:?}"
                );
            }
        }
    }

    #[test]
    fn turns_go_on_where_they_were_when_a_worker_comes_back() {
        let mut queues = worker_of(&[("a", 1), ("b", 1)]);
        assert_eq!(turns(&mut queues, &[0, 1], 1), [0]);
        let mut again = worker_of(&[("new", 1), ("a", 1), ("b", 1)]);
        go_on(&mut again, &queues);
        assert_eq!(turns(&mut again, &[1, 2], 1), [2]);
        let mut heavier = worker_of(&[("a", 10), ("b", 10)]);
        go_on(&mut heavier, &queues);
        assert_eq!(
            turns(&mut heavier, &[0, 1], 3),
            [1, 0, 1],
            "an old turn is no heavier"
        );
    }

    #[test]
    fn lots_fall_by_weights() {
        let queues = worker_of(&[("a", 3), ("b", 1), ("c", 6)]);
        let ready = [(0, TaskId::MIN), (2, TaskId::MIN)];
        let draw = |random| by_lot(&queues, &ready, random).map(|(index, _)| index);
        let drawn: Vec<usize> = (0..9).filter_map(draw).collect();
        assert_eq!(drawn, [0, 0, 0, 2, 2, 2, 2, 2, 2]);
        assert_eq!(by_lot(&queues, &[], 5), None);
    }
}
