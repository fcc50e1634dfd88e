//! What the end-to-end tests are made of: a coordinator in this process, workers of every kind, and
//! ways to wait.
//!
//! Everything speaks real gRPC over real sockets of 127.0.0.1, on ports of its own. Never looks
//! inside the coordinator and never decides what is right: the tests in `tests/` do. Invariants:
//! nothing sleeps, every wait is for a condition and bounded by [`wait::PATIENCE`]; whatever is
//! started ends with the value that stands for it.
//!
//! [`Harness`] is a coordinator and the stubs of all its services; [`RawWorker`] speaks the worker
//! protocol by hand; [`SdkWorker`] runs a worker of the SDK; [`Proxy`] is a network that can be cut;
//! [`history`] is what clients saw of a coordinator, with a judge of its own; [`load`] is who works with
//! a coordinator while something happens to it, and [`chaos`] is what happens; [`sim`] is a world in one
//! thread, without sockets.

pub mod chaos;
pub mod dice;
pub mod harness;
pub mod history;
pub mod hot;
pub mod load;
pub mod make;
pub mod model;
pub mod process;
pub mod proxy;
pub mod raw_worker;
pub mod refusal;
pub mod sdk_worker;
pub mod sim;
pub mod violation;
pub mod wait;
pub mod worker_process;

pub use dice::Dice;
pub use harness::Harness;
pub use proxy::Proxy;
pub use raw_worker::RawWorker;
pub use sdk_worker::SdkWorker;
pub use wait::{eventually, within};
