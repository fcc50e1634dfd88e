//! Names, numbers and instants, each a type of its own.
//!
//! Owns their formats and the rules of what is well formed. Never draws randomness or reads a
//! clock: whoever makes an id brings both.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use super::limits;

/// An instant of the engine's clock: milliseconds since the Unix epoch, UTC.
///
/// Made by the shell's clock; it never goes back, not even over a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The instant `ms` milliseconds later; saturates at the end of time.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// The first instant from this one on that is a multiple of `step_ms`, which is not 0.
    #[must_use]
    pub const fn rounded_up(self, step_ms: u64) -> Self {
        match self.0.checked_next_multiple_of(step_ms) {
            Some(ms) => Self(ms),
            None => self,
        }
    }

    /// Milliseconds since `earlier`; 0 where that lies ahead.
    #[must_use]
    pub const fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A task's id: 128 bits that read as a UUID of version 7.
///
/// Millisecond time, then the shard in the 12 `rand_a` bits, then a counter and randomness: ids of
/// a shard sort in the order of their making, and a task is found without a lookup.
///
/// Kept in two halves, whose order is that of the whole: a `u128` would align everything that holds
/// an id to 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TaskId {
    high: u64,
    low: u64,
}

impl Ord for TaskId {
    /// As one number: two instructions without a branch, where halves are searched for.
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.whole().cmp(&other.whole())
    }
}

impl PartialOrd for TaskId {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }

    #[inline]
    fn lt(&self, other: &Self) -> bool {
        self.whole() < other.whole()
    }

    #[inline]
    fn le(&self, other: &Self) -> bool {
        self.whole() <= other.whole()
    }
}

impl TaskId {
    const fn whole(self) -> u128 {
        (self.high as u128) << 64 | self.low as u128
    }

    /// Puts an id together. `low` fills the 62 bits below the variant: a counter in its upper half
    /// and randomness in its lower makes ids of one millisecond unique and ordered.
    #[must_use]
    pub fn new(at: Timestamp, shard: ShardId, low: u64) -> Self {
        let time = (at.0 & 0xffff_ffff_ffff) << 16;
        let version = 0x7 << 12;
        let shard = u64::from(shard.0 & 0xfff);
        let variant = 0b10 << 62;
        Self {
            high: time | version | shard,
            low: variant | (low & 0x3fff_ffff_ffff_ffff),
        }
    }

    /// The id in these 16 bytes, if they are a UUID of version 7.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        let (high, low) = uuid::Uuid::from_bytes(bytes).as_u64_pair();
        Self::checked(high, low)
    }

    /// The id as 16 bytes, big-endian as RFC 9562 has them.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.to_uuid().into_bytes()
    }

    /// Reads the hyphenated text form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (high, low) = uuid::Uuid::try_parse(text).ok()?.as_u64_pair();
        Self::checked(high, low)
    }

    /// When the id was made, to the millisecond: the low 48 bits of that instant.
    #[must_use]
    pub const fn made_at(self) -> Timestamp {
        Timestamp(self.high >> 16)
    }

    /// The shard the task was born in, where it stays.
    #[must_use]
    pub const fn shard(self) -> ShardId {
        let [.., high, low] = self.high.to_be_bytes();
        ShardId(u16::from_be_bytes([high & 0x0f, low]))
    }

    /// The smallest id of all, where scans begin.
    pub const MIN: Self = Self { high: 0, low: 0 };
    /// The largest id of all, where scans end.
    pub const MAX: Self = Self {
        high: u64::MAX,
        low: u64::MAX,
    };

    const fn checked(high: u64, low: u64) -> Option<Self> {
        let version = (high >> 12) & 0xf;
        let variant = low >> 62;
        if version == 7 && variant == 0b10 {
            Some(Self { high, low })
        } else {
            None
        }
    }

    const fn to_uuid(self) -> uuid::Uuid {
        uuid::Uuid::from_u64_pair(self.high, self.low)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_uuid().as_hyphenated().fmt(f)
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A part of the state with a ledger, an agenda and an event sequence of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

impl ShardId {
    /// The shard that a name belongs to, of so many: FNV-1a. Part of the journal's format: it never
    /// changes.
    #[must_use]
    pub fn of_name(name: impl Iterator<Item = u8>, shard_count: u16) -> Self {
        let hash = name.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let shard = hash % u64::from(shard_count.max(1));
        Self(u16::try_from(shard).expect("less than a u16 of shards"))
    }
}

/// A session: one worker process, over all its reconnects. 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u128);

impl SessionId {
    /// Reads the text form: 32 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() == 32 {
            u128::from_str_radix(text, 16).ok().map(Self)
        } else {
            None
        }
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One stream of a worker: a session has at most one at a time. Given by the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// One call that waits for exactly one reply. Given by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A number that only grows for a task: the shard's epoch (39 bits), then the task's run (24 bits).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(pub u64);

impl Fence {
    /// The fence of a task's `run` (counted from 1) in an epoch.
    ///
    /// # Panics
    /// Where the run does not fit 24 bits: budgets end a task long before.
    #[must_use]
    pub fn new(epoch: u64, run: u32) -> Self {
        assert!(run <= limits::RUNS_MAX, "runs are bounded by the budgets");
        assert!(epoch < 1 << 39, "epochs are unix seconds or a little more");
        Self(epoch << 24 | u64::from(run))
    }

    /// Which run of the task it belongs to.
    #[must_use]
    pub const fn run(self) -> u32 {
        let [.., high, middle, low] = self.0.to_be_bytes();
        u32::from_be_bytes([0, high, middle, low])
    }
}

/// Proof of a lease, opaque to workers: the task, the fence, and 64 random bits that a stranger
/// cannot guess. 32 bytes on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseToken {
    /// The task that is leased.
    pub task: TaskId,
    /// Which lease of it.
    pub fence: Fence,
    /// What makes it a capability.
    pub nonce: u64,
}

impl LeaseToken {
    /// The token's bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&self.task.to_bytes());
        bytes[16..24].copy_from_slice(&self.fence.0.to_be_bytes());
        bytes[24..].copy_from_slice(&self.nonce.to_be_bytes());
        bytes
    }

    /// The token in these bytes; `None` where they cannot be one.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let task: [u8; 16] = bytes.get(..16)?.try_into().ok()?;
        let fence: [u8; 8] = bytes.get(16..24)?.try_into().ok()?;
        let nonce: [u8; 8] = bytes.get(24..)?.try_into().ok()?;
        Some(Self {
            task: TaskId::from_bytes(task)?,
            fence: Fence(u64::from_be_bytes(fence)),
            nonce: u64::from_be_bytes(nonce),
        })
    }
}

/// Why a name cannot be one. The text continues "the name ...".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is nothing.
    #[error("must not be empty")]
    Empty,
    /// It is longer than [`limits::NAME_BYTES_MAX`].
    #[error("has {0} characters, at most {max} are allowed", max = limits::NAME_BYTES_MAX)]
    TooLong(usize),
    /// It contains this, or begins with it.
    #[error(
        "contains {0:?}: use letters, digits, '.', '_' and '-', beginning with a letter or digit"
    )]
    Character(char),
}

/// Checks a queue, kind, namespace, worker id or label key.
///
/// # Errors
/// Where it is empty, too long, or has other characters than letters, digits, '.', '_' and '-'.
pub fn check_name(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > limits::NAME_BYTES_MAX {
        return Err(NameError::TooLong(text.chars().count()));
    }
    // Every task that is enqueued names some: good ones are seen to be so byte by byte.
    let fits = |index: usize, byte: u8| {
        byte.is_ascii_alphanumeric() || index > 0 && matches!(byte, b'.' | b'_' | b'-')
    };
    let mut bytes = text.bytes().enumerate();
    match bytes.find(|(index, byte)| !fits(*index, *byte)) {
        None => Ok(()),
        // What comes before it is ASCII: it begins a character.
        Some((index, _)) => {
            let bad = text.get(index..).and_then(|rest| rest.chars().next());
            Err(NameError::Character(bad.unwrap_or_default()))
        }
    }
}

/// A queue within its namespace, held as `namespace/queue`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueName(Arc<str>);

/// Two checked names as one text, in one allocation: every task that is enqueued brings one.
fn joined(namespace: &str, queue: &str) -> Arc<str> {
    let mut full = [0; 2 * limits::NAME_BYTES_MAX + 1];
    let (slash, end) = (namespace.len(), namespace.len() + 1 + queue.len());
    full[..slash].copy_from_slice(namespace.as_bytes());
    full[slash] = b'/';
    full[slash + 1..end].copy_from_slice(queue.as_bytes());
    let full = std::str::from_utf8(&full[..end]);
    full.expect("names are ASCII").into()
}

impl Borrow<str> for QueueName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl QueueName {
    /// The queue of these names, which must have been checked.
    ///
    /// # Errors
    /// Where one of the names is not well formed; the namespace is checked first.
    pub fn new(namespace: &str, queue: &str) -> Result<Self, NameError> {
        check_name(namespace)?;
        check_name(queue)?;
        Ok(Self(joined(namespace, queue)))
    }

    /// The queue of this whole name, `namespace/queue`, as [`QueueName::as_str`] has it.
    ///
    /// # Errors
    /// Where one of the names is missing or not well formed; the namespace is checked first.
    pub fn parse(full: &str) -> Result<Self, NameError> {
        let (namespace, queue) = full.split_once('/').unwrap_or((full, ""));
        check_name(namespace)?;
        check_name(queue)?;
        Ok(Self(full.into()))
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.0
            .split_once('/')
            .map_or("", |(namespace, _)| namespace)
    }

    /// The name within the namespace.
    #[must_use]
    pub fn queue(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, queue)| queue)
    }

    /// Both, as `namespace/queue`: how queues sort.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The shard that a queue of this name lives in, of so many: FNV-1a of the whole name. Part of
    /// the journal's format: it never changes.
    #[must_use]
    pub fn shard(&self, shard_count: u16) -> ShardId {
        ShardId::of_name(self.0.bytes(), shard_count)
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_id_is_a_uuid_of_version_7_that_carries_its_shard() {
        let id = TaskId::new(Timestamp(1_700_000_000_123), ShardId(0xabc), u64::MAX);
        let uuid = uuid::Uuid::parse_str(&id.to_string()).unwrap();
        assert_eq!(uuid.get_version_num(), 7);
        assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
        assert_eq!(id.shard(), ShardId(0xabc));
        assert_eq!(id.made_at(), Timestamp(1_700_000_000_123));
        assert_eq!(TaskId::parse(&id.to_string()), Some(id));
        assert_eq!(TaskId::from_bytes(id.to_bytes()), Some(id));
        assert_eq!(TaskId::parse("00000000-0000-4000-8000-000000000000"), None);
    }

    #[test]
    fn ids_of_a_shard_sort_by_time_and_then_by_counter() {
        let at = |ms, low| TaskId::new(Timestamp(ms), ShardId(3), low);
        assert!(at(1, 9) < at(2, 0));
        assert!(at(2, 0) < at(2, 1));
        assert!(at(2, 0).to_bytes() < at(2, 1).to_bytes());
        assert!(TaskId::MIN < at(0, 0) && at(u64::MAX, u64::MAX) < TaskId::MAX);
        assert_eq!(TaskId::MAX.to_bytes(), [u8::MAX; 16]);
    }

    #[test]
    fn tokens_survive_the_wire_and_refuse_other_lengths() {
        let token = LeaseToken {
            task: TaskId::new(Timestamp(7), ShardId(1), 2),
            fence: Fence::new(1_800_000_000, 3),
            nonce: 42,
        };
        assert_eq!(LeaseToken::parse(&token.to_bytes()), Some(token));
        assert_eq!(token.fence.run(), 3);
        assert_eq!(LeaseToken::parse(&token.to_bytes()[..31]), None);
        assert_eq!(LeaseToken::parse(&[0; 33]), None);
    }

    #[test]
    fn names_say_what_is_wrong_with_them() {
        assert_eq!(check_name("mail.send-2_x"), Ok(()));
        assert_eq!(check_name(""), Err(NameError::Empty));
        assert_eq!(check_name("a/b"), Err(NameError::Character('/')));
        assert_eq!(check_name(".a"), Err(NameError::Character('.')));
        assert_eq!(check_name(&"x".repeat(129)), Err(NameError::TooLong(129)));
    }

    #[test]
    fn a_queue_is_read_from_its_whole_name_if_that_is_well_formed() {
        let queue = QueueName::new("default", "mail").unwrap();
        assert_eq!(QueueName::parse(queue.as_str()), Ok(queue));
        assert_eq!(QueueName::parse("mail"), Err(NameError::Empty));
        assert_eq!(QueueName::parse("/mail"), Err(NameError::Empty));
        assert_eq!(QueueName::parse("a/b/c"), Err(NameError::Character('/')));
    }

    #[test]
    fn a_queue_keeps_its_shard() {
        // Part of the journal's format: these numbers never change.
        let queue = QueueName::new("default", "mail").unwrap();
        assert_eq!((queue.namespace(), queue.queue()), ("default", "mail"));
        assert_eq!(queue.shard(1), ShardId(0));
        assert!(queue.shard(16).0 < 16);
    }
}
