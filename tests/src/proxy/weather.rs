//! What a network does to what is on its way.
//!
//! Owns the words for it. Does nothing by itself.

use std::time::Duration;

/// What becomes of bytes in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// They arrive.
    Open,
    /// They wait, and arrive when the way is open again.
    Held,
    /// They are lost. A stream of bytes with a hole is no use to anybody: the connection ends when the
    /// network is fair again.
    Swallowed,
}

/// What a network does to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    /// Towards the coordinator.
    pub up: Way,
    /// Away from it.
    pub down: Way,
    /// How long everything takes, each way.
    pub latency: Duration,
    /// How much longer it takes at the most, by chance. Bytes stay in order.
    pub jitter: Duration,
    /// Bytes that go through in a second, each way; `None` for as many as there are.
    pub bytes_per_second: Option<u64>,
    /// Whether one end hears that the other one is gone. If not, it hears nothing more, as of a
    /// machine that lost its power.
    pub tells_ends: bool,
}

impl Weather {
    /// Nothing is lost, late or scarce.
    pub const FAIR: Self = Self {
        up: Way::Open,
        down: Way::Open,
        latency: Duration::ZERO,
        jitter: Duration::ZERO,
        bytes_per_second: None,
        tells_ends: true,
    };
    /// Connections are there, and nothing arrives.
    pub const BLACK_HOLE: Self = Self {
        up: Way::Swallowed,
        down: Way::Swallowed,
        tells_ends: false,
        ..Self::FAIR
    };
}

/// How a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Both ends read the end of the stream (FIN).
    Closed,
    /// Both ends read an error (RST).
    Reset,
}
