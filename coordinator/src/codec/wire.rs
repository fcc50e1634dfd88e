//! Bytes: what numbers, ids and texts look like, and the error of a record that cannot be read.
//!
//! Owns the writer and the bounds-checked reader. Never knows what a record means. Reading hostile
//! bytes never panics and allocates nothing before the bytes are there; each value has one form, so
//! what was read encodes to the same bytes again (but for what old records say otherwise).

use std::fmt;

use super::cache::Cache;

/// Why bytes are not a record: what was being read, where, and what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}, at byte {at} of the record, {problem}")]
pub struct DecodeError {
    /// What was being read.
    pub field: &'static str,
    /// Where it begins, counted from the record's first byte.
    pub at: usize,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a part of a record. The text continues "the field ...".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The record ends before it does.
    CutShort,
    /// A number does not fit its type, or is written longer than it need be.
    BadNumber,
    /// No meaning is known for this number: it is damaged, or a later version wrote it.
    Unknown(u64),
    /// A text is not UTF-8.
    NotUtf8,
    /// A queue's name is not well formed.
    NotAName,
    /// An id is not a UUID of version 7.
    NotAnId,
    /// A list says that it is longer than the rest of the record, or than such a list may be.
    TooMany(u64),
    /// It is present, but says what its absence says.
    Redundant,
    /// Parts of it contradict each other: a number of runs that is not its fence's.
    Contradicts,
    /// The record is over, but so many bytes follow.
    Trailing(usize),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutShort => f.write_str("is cut short"),
            Self::BadNumber => f.write_str("is a number out of range or of the wrong form"),
            Self::Unknown(number) => write!(f, "has the unknown number {number}"),
            Self::NotUtf8 => f.write_str("is not UTF-8"),
            Self::NotAName => f.write_str("is not the name of a queue"),
            Self::NotAnId => f.write_str("is not a UUID of version 7"),
            Self::TooMany(count) => write!(f, "claims {count} items, more than there can be"),
            Self::Redundant => f.write_str("is present without need"),
            Self::Contradicts => f.write_str("says two different numbers of runs"),
            Self::Trailing(bytes) => write!(f, "is followed by {bytes} bytes too many"),
        }
    }
}

/// Appends to a buffer.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    pub(super) out: &'a mut Vec<u8>,
    /// The instant written before, from which the next one is counted. Milliseconds.
    instant: u64,
}

impl<'a> Writer<'a> {
    pub(super) const fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, instant: 0 }
    }

    /// LEB128: seven bits a byte, the lowest first, the top bit set on all but the last.
    #[inline]
    pub(super) fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            let [low, ..] = value.to_le_bytes();
            self.out.push(low | 0x80);
            value >>= 7;
        }
        let [low, ..] = value.to_le_bytes();
        self.out.push(low);
    }

    /// A length, then so many bytes.
    #[inline]
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    /// The difference from the instant before it.
    #[inline]
    pub(super) fn instant(&mut self, ms: u64) {
        self.varint(zigzag(ms.wrapping_sub(self.instant)));
        self.instant = ms;
    }

    /// From here on instants are counted from this one.
    #[inline]
    pub(super) const fn count_from(&mut self, ms: u64) {
        self.instant = ms;
    }
}

/// Reads from a buffer, and remembers the texts it has read.
pub(super) struct Reader<'a, 'c> {
    pub(super) cursor: Cursor<'a>,
    pub(super) cache: &'c mut Cache,
    instant: u64,
}

impl<'a, 'c> Reader<'a, 'c> {
    pub(super) const fn new(cursor: Cursor<'a>, cache: &'c mut Cache) -> Self {
        Self {
            cursor,
            cache,
            instant: 0,
        }
    }

    #[inline]
    pub(super) fn instant(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        let difference = unzigzag(self.cursor.varint(field)?);
        self.instant = self.instant.wrapping_add(difference);
        Ok(self.instant)
    }

    #[inline]
    pub(super) const fn count_from(&mut self, ms: u64) {
        self.instant = ms;
    }
}

/// A place in the bytes of a record.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The bytes that were not read yet.
    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    #[cold]
    pub(super) const fn error(&self, field: &'static str, problem: Problem) -> DecodeError {
        DecodeError {
            field,
            at: self.at,
            problem,
        }
    }

    /// The next so many bytes.
    #[inline]
    pub(super) fn take(
        &mut self,
        count: usize,
        field: &'static str,
    ) -> Result<&'a [u8], DecodeError> {
        let Some((taken, _)) = self.rest().split_at_checked(count) else {
            return Err(self.error(field, Problem::CutShort));
        };
        self.at += count;
        Ok(taken)
    }

    /// The next bytes, as many as the array has.
    #[inline]
    pub(super) fn array<const N: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<[u8; N], DecodeError> {
        let Some(taken) = self.rest().first_chunk::<N>() else {
            return Err(self.error(field, Problem::CutShort));
        };
        self.at += N;
        Ok(*taken)
    }

    /// One byte.
    #[inline]
    pub(super) fn byte(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        let [byte] = self.array(field)?;
        Ok(byte)
    }

    /// A number in LEB128, in its shortest form.
    #[inline]
    pub(super) fn varint(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        match self.rest().first() {
            Some(byte) if *byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(*byte))
            }
            Some(_) | None => self.long_varint(field),
        }
    }

    fn long_varint(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        const BYTES_MAX: usize = 10;
        let mut value = 0;
        let rest = self.rest();
        for (index, byte) in rest.iter().take(BYTES_MAX).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                let too_large = index + 1 == BYTES_MAX && *byte > 1;
                let too_long = index > 0 && *byte == 0;
                if too_large || too_long {
                    return Err(self.error(field, Problem::BadNumber));
                }
                self.at += index + 1;
                return Ok(value);
            }
        }
        let problem = if rest.len() < BYTES_MAX {
            Problem::CutShort
        } else {
            Problem::BadNumber
        };
        Err(self.error(field, problem))
    }

    /// A number in LEB128 that fits a smaller type.
    #[inline]
    pub(super) fn narrow<T: TryFrom<u64>>(
        &mut self,
        field: &'static str,
    ) -> Result<T, DecodeError> {
        let before = self.clone();
        let value = self.varint(field)?;
        let narrow = T::try_from(value).ok();
        narrow.ok_or_else(|| before.error(field, Problem::BadNumber))
    }

    /// A length, then so many bytes.
    #[inline]
    pub(super) fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let count = self.narrow(field)?;
        self.take(count, field)
    }

    /// The next so many bytes as a record's part of their own, in which places are counted on.
    pub(super) fn split(&mut self, count: usize, field: &'static str) -> Result<Self, DecodeError> {
        let at = self.at;
        self.take(count, field)?;
        let bytes = self.bytes.get(..self.at).unwrap_or_default();
        Ok(Self { bytes, at })
    }

    /// A number of items, each of which takes at least so many bytes, all of which are there.
    pub(super) fn count(
        &mut self,
        item_bytes_min: usize,
        field: &'static str,
    ) -> Result<usize, DecodeError> {
        let before = self.clone();
        let claimed = self.varint(field)?;
        let possible = self.rest().len() / item_bytes_min.max(1);
        match usize::try_from(claimed) {
            Ok(count) if count <= possible => Ok(count),
            Ok(_) | Err(_) => Err(before.error(field, Problem::TooMany(claimed))),
        }
    }

    /// That nothing follows.
    pub(super) fn end(&self, field: &'static str) -> Result<(), DecodeError> {
        match self.rest().len() {
            0 => Ok(()),
            left => Err(self.error(field, Problem::Trailing(left))),
        }
    }
}

/// The optional parts of a shape: one bit each, the first is the lowest.
#[derive(Debug, Default)]
pub(super) struct Bits {
    bits: u64,
    count: u32,
}

impl Bits {
    #[inline]
    pub(super) const fn push(&mut self, present: bool) {
        self.bits |= (present as u64) << self.count;
        self.count += 1;
    }

    #[inline]
    pub(super) fn put(&self, w: &mut Writer<'_>) {
        w.varint(self.bits);
    }

    /// Reads the bits of a shape that has so many optional parts.
    #[inline]
    pub(super) fn get(
        cursor: &mut Cursor<'_>,
        parts: usize,
        field: &'static str,
    ) -> Result<Self, DecodeError> {
        let before = cursor.clone();
        let bits = cursor.varint(field)?;
        if bits >> parts != 0 {
            return Err(before.error(field, Problem::Unknown(bits)));
        }
        Ok(Self { bits, count: 0 })
    }

    #[inline]
    pub(super) const fn pop(&mut self) -> bool {
        let present = (self.bits >> self.count) & 1 == 1;
        self.count += 1;
        present
    }
}

/// Small differences become small numbers, whichever way they go.
#[inline]
pub(super) const fn zigzag(difference: u64) -> u64 {
    (difference << 1) ^ (difference >> 63).wrapping_neg()
}

#[inline]
pub(super) const fn unzigzag(number: u64) -> u64 {
    (number >> 1) ^ (number & 1).wrapping_neg()
}
