//! The cleaner of the simulated coordinator: what the real one does, one step after another.
//!
//! Owns the calls that it waits for. What is done next is the coordinator's own `Cleaning`.

use redrive_coordinator::engine::command::Caller;
use redrive_coordinator::engine::effect::Answer;
use redrive_coordinator::engine::rejection::Rejection;
use redrive_coordinator::shell::cleaning::{Next, SegmentWork};

use super::situations::Situation;
use super::world::{Arriving, Due, Who, World};

/// What the cleaner waits for.
#[derive(Debug, Default)]
pub struct Cleaner {
    /// In which life of the coordinator.
    life: u32,
    /// The answers so far, in the order of the calls.
    answers: Vec<Option<Answer>>,
    missing: usize,
}

impl World {
    /// The cleaner's beat.
    pub(super) fn cleaner_beat(&mut self) {
        let Some(server) = &mut self.server else {
            return;
        };
        let files = server.files();
        server.cleaning.tick(&files);
        if self.cleaner.life != self.life {
            self.cleaner = Cleaner {
                life: self.life,
                ..Cleaner::default()
            };
        }
        if self.cleaner.missing == 0 {
            self.clean();
        }
    }

    fn clean(&mut self) {
        while let Some(server) = &mut self.server {
            let files = server.files();
            match server.cleaning.next(&files) {
                Next::Rest => return,
                Next::Ask(calls) => return self.cleaner_asks(calls),
                Next::Read(info) => match SegmentWork::read(&files, info) {
                    Ok(work) => server.cleaning.begin(work),
                    Err(error) => {
                        let says = format!("a sealed segment cannot be read: {error}");
                        return self.judge.wrong("NoLoss", &says);
                    }
                },
                Next::Remove { below } => {
                    if files.delete_below(below).is_err() {
                        return self.fail();
                    }
                    server.cleaning.removed();
                    self.saw(Situation::SegmentCleaned);
                }
            }
        }
    }

    fn cleaner_asks(&mut self, calls: Vec<redrive_coordinator::engine::command::Call>) {
        self.cleaner.answers = calls.iter().map(|_| None).collect();
        self.cleaner.missing = calls.len();
        for (place, call) in calls.into_iter().enumerate() {
            let operation = self.fresh();
            self.operations.insert(operation, Who::Cleaner(place));
            let arriving = Arriving::Call(operation, Caller::default(), call);
            self.agenda.after(1, Due::Arrive(self.life, arriving));
        }
    }

    /// An answer to the cleaner; none where the coordinator is not there any more.
    pub(super) fn cleaner_hears(&mut self, place: usize, reply: Option<Result<Answer, Rejection>>) {
        let Some(Ok(answer)) = reply else { return };
        if self.cleaner.life != self.life || self.cleaner.missing == 0 {
            return;
        }
        self.cleaner.answers[place] = Some(answer);
        self.cleaner.missing -= 1;
        if self.cleaner.missing > 0 {
            return;
        }
        let answers = std::mem::take(&mut self.cleaner.answers);
        let answers = answers.into_iter().flatten().collect();
        let Some(server) = &mut self.server else {
            return;
        };
        let files = server.files();
        match server.cleaning.answered(answers, &files) {
            Ok(true) => self.clean(),
            Ok(false) => {}
            Err(error) => self.judge.wrong("NoLoss", &error.to_string()),
        }
    }
}
