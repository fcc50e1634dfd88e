//! The bytes of segment headers and frame headers. `docs/journal-format.md` has the tables.
//!
//! Owns the layout and its version; all numbers are little-endian. Never does I/O, and never
//! believes a length: whoever decodes checks it against the bytes there are.

/// The header block that every segment begins with.
pub(super) const BLOCK_BYTES: usize = 4096;
/// The header of a frame.
pub(super) const FRAME_BYTES: usize = 48;
/// Frames begin at multiples of this.
pub(super) const ALIGN: usize = 8;
/// The length before every record.
pub(super) const PREFIX_BYTES: usize = 4;
/// The version that this code writes and reads.
pub(super) const VERSION: u32 = 1;
/// What a sealed segment has behind its last frame, and nothing more: no cut by another hand leaves
/// that, as a frame begins with its magic.
pub(super) const SEAL: [u8; ALIGN] = [0; ALIGN];
/// A frame that opens its segment.
pub(super) const FLAG_OPENS: u32 = 1;

const SEGMENT_MAGIC: [u8; 8] = *b"REDRVSEG";
const FRAME_MAGIC: [u8; 4] = *b"RFRM";
/// Where a block's checksum stands; counted as zeros.
const BLOCK_CRC_AT: usize = 12;
/// Where a frame header's checksum stands; counted as zeros.
const FRAME_CRC_AT: usize = 8;

/// What a segment says of itself and of the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Which journal it belongs to.
    pub(super) uuid: [u8; 16],
    /// Counts the starts of this journal; never falls along the log.
    pub(super) incarnation: u64,
    /// 1, 2, 3 .. without gaps.
    pub(super) number: u64,
    /// What its frames' checksums begin with, so that frames of other files never match.
    pub(super) salt: u32,
    /// The opener's own number, fixed for the life of a journal.
    pub(super) tag: u16,
    /// The lsn of its first frame.
    pub(super) first_lsn: u64,
    /// The last lsn of the segment before; 0 in the first one ever.
    pub(super) prev_last_lsn: u64,
    /// The chain after that frame; 0 in the first one ever.
    pub(super) prev_chain: u64,
    /// The size it was made with. It is shorter only when it was sealed.
    pub(super) capacity: u64,
}

/// Why a block is no segment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    /// Too short, another magic, or a wrong checksum.
    Damaged,
    /// Another version's.
    Version(u32),
}

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    /// Bytes of its records with their length prefixes; without padding.
    pub(super) body_len: u32,
    /// The checksum of the body.
    pub(super) body_crc: u32,
    /// 1, 2, 3 .. over the whole log, without gaps.
    pub(super) lsn: u64,
    /// The chain after the frame before.
    pub(super) prev_chain: u64,
    /// The highest lsn known to be synced when this frame was built.
    pub(super) durable_lsn: u64,
    /// How many records the body has.
    pub(super) n_records: u32,
    /// [`FLAG_OPENS`].
    pub(super) flags: u32,
}

/// Takes fields off the front of bytes.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}

/// CRC-32C of `bytes` with the four from `at` on as zeros.
fn crc_without(seed: u32, bytes: &[u8], at: usize) -> u32 {
    let (before, rest) = bytes.split_at(at.min(bytes.len()));
    let after = rest.get(4..).unwrap_or_default();
    let crc = crc32c::crc32c_append(seed, before);
    crc32c::crc32c_append(crc32c::crc32c_append(crc, &[0; 4]), after)
}

/// The checksum of a body in a segment with this salt.
pub(super) fn body_crc(salt: u32, body: &[u8]) -> u32 {
    crc32c::crc32c_append(salt, body)
}

/// The next multiple of [`ALIGN`].
pub(super) const fn aligned(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGN)
}

/// Whether there is nothing but zeros.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes
        .chunks(ZEROS.len())
        .all(|chunk| ZEROS.get(..chunk.len()) == Some(chunk))
}

impl SegmentHeader {
    /// The whole header block.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        block.extend_from_slice(&SEGMENT_MAGIC);
        block.extend_from_slice(&VERSION.to_le_bytes());
        block.extend_from_slice(&[0; 4]);
        block.extend_from_slice(&self.uuid);
        block.extend_from_slice(&self.incarnation.to_le_bytes());
        block.extend_from_slice(&self.number.to_le_bytes());
        block.extend_from_slice(&self.salt.to_le_bytes());
        block.extend_from_slice(&self.tag.to_le_bytes());
        block.extend_from_slice(&[0; 2]);
        block.extend_from_slice(&self.first_lsn.to_le_bytes());
        block.extend_from_slice(&self.prev_last_lsn.to_le_bytes());
        block.extend_from_slice(&self.prev_chain.to_le_bytes());
        block.extend_from_slice(&self.capacity.to_le_bytes());
        block.resize(BLOCK_BYTES, 0);
        let crc = crc_without(0, &block, BLOCK_CRC_AT).to_le_bytes();
        block.splice(BLOCK_CRC_AT..BLOCK_CRC_AT + crc.len(), crc);
        block
    }

    /// Reads the header block at the front of `bytes`.
    ///
    /// # Errors
    /// Where it is damaged, or another version's.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderFault> {
        let block = bytes.get(..BLOCK_BYTES).ok_or(HeaderFault::Damaged)?;
        Self::fields(block).unwrap_or(Err(HeaderFault::Damaged))
    }

    fn fields(block: &[u8]) -> Option<Result<Self, HeaderFault>> {
        let mut fields = Fields(block);
        if fields.take::<8>()? != SEGMENT_MAGIC {
            return None;
        }
        let version = fields.u32()?;
        if version != VERSION {
            return Some(Err(HeaderFault::Version(version)));
        }
        if fields.u32()? != crc_without(0, block, BLOCK_CRC_AT) {
            return None;
        }
        let (uuid, incarnation, number) = (fields.take::<16>()?, fields.u64()?, fields.u64()?);
        let (salt, tag) = (fields.u32()?, fields.u16()?);
        fields.u16()?;
        Some(Ok(Self {
            uuid,
            incarnation,
            number,
            salt,
            tag,
            first_lsn: fields.u64()?,
            prev_last_lsn: fields.u64()?,
            prev_chain: fields.u64()?,
            capacity: fields.u64()?,
        }))
    }
}

impl FrameHeader {
    /// The header's bytes in a segment with this salt.
    pub(super) fn encode(&self, salt: u32) -> [u8; FRAME_BYTES] {
        let mut bytes = [0; FRAME_BYTES];
        let fields: [&[u8]; 9] = [
            &FRAME_MAGIC,
            &self.body_len.to_le_bytes(),
            &[0; 4],
            &self.body_crc.to_le_bytes(),
            &self.lsn.to_le_bytes(),
            &self.prev_chain.to_le_bytes(),
            &self.durable_lsn.to_le_bytes(),
            &self.n_records.to_le_bytes(),
            &self.flags.to_le_bytes(),
        ];
        let mut rest = bytes.as_mut_slice();
        for field in fields {
            let (place, after) = rest.split_at_mut(field.len());
            place.copy_from_slice(field);
            rest = after;
        }
        let crc = crc_without(salt, &bytes, FRAME_CRC_AT);
        if let Some(place) = bytes.get_mut(FRAME_CRC_AT..FRAME_CRC_AT + 4) {
            place.copy_from_slice(&crc.to_le_bytes());
        }
        bytes
    }

    /// The header at the front of `bytes`, where its magic and its checksum are right.
    pub(super) fn decode(salt: u32, bytes: &[u8]) -> Option<Self> {
        if bytes.get(..FRAME_MAGIC.len())? != FRAME_MAGIC {
            return None;
        }
        let bytes = bytes.get(..FRAME_BYTES)?;
        let mut fields = Fields(bytes);
        fields.take::<4>()?;
        let body_len = fields.u32()?;
        if fields.u32()? != crc_without(salt, bytes, FRAME_CRC_AT) {
            return None;
        }
        Some(Self {
            body_len,
            body_crc: fields.u32()?,
            lsn: fields.u64()?,
            prev_chain: fields.u64()?,
            durable_lsn: fields.u64()?,
            n_records: fields.u32()?,
            flags: fields.u32()?,
        })
    }

    /// The chain after this frame: every field of its header, and through `body_crc` its body and
    /// through `prev_chain` all frames before, mixed into 64 bits.
    pub(super) fn chain(&self) -> u64 {
        let halves = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
        let words = [
            halves(self.body_len, self.body_crc),
            self.lsn,
            self.durable_lsn,
            halves(self.n_records, self.flags),
        ];
        words
            .into_iter()
            .fold(self.prev_chain, |chain, word| mixed(chain ^ word))
    }
}

/// The finalizer of splitmix64: a bijection of 64 bits in which every bit moves every other.
pub(super) const fn mixed(word: u64) -> u64 {
    let word = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// The file that says that a repair has cut a journal whose oldest segments had been cleaned.
pub(super) const REPAIRED_NAME: &str = "REPAIRED";

/// The name of a segment's file.
pub(super) fn segment_name(number: u64) -> String {
    format!("segment-{number:016}.log")
}

/// The number in the name of a segment's file.
pub(super) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("segment-")?.strip_suffix(".log")?;
    let number = digits.parse().ok()?;
    (segment_name(number) == name).then_some(number)
}
