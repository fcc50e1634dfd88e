//! The forms of plain types: numbers, ids, texts, bytes, lists and boxes.
//!
//! Owns what is written of each, and which values of it count as absent where it is an optional
//! part. Texts, names and policies go through the cache, so that equal ones share memory.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::shape::{Item, Part, Wire, fixed};
use super::wire::{DecodeError, Problem, Reader, Writer, unzigzag, zigzag};
use crate::engine::ids::{Fence, QueueName, SessionId, ShardId, TaskId, Timestamp};

impl Wire for u64 {
    #[inline]
    fn put(&self, w: &mut Writer<'_>) {
        w.varint(*self);
    }

    #[inline]
    fn get(r: &mut Reader<'_, '_>, field: &'static str) -> Result<Self, DecodeError> {
        r.cursor.varint(field)
    }
}

impl Wire for u32 {
    #[inline]
    fn put(&self, w: &mut Writer<'_>) {
        w.varint((*self).into());
    }

    #[inline]
    fn get(r: &mut Reader<'_, '_>, field: &'static str) -> Result<Self, DecodeError> {
        r.cursor.narrow(field)
    }
}

impl Wire for u16 {
    #[inline]
    fn put(&self, w: &mut Writer<'_>) {
        w.varint((*self).into());
    }

    #[inline]
    fn get(r: &mut Reader<'_, '_>, field: &'static str) -> Result<Self, DecodeError> {
        r.cursor.narrow(field)
    }
}

impl Wire for i32 {
    fn put(&self, w: &mut Writer<'_>) {
        w.varint(zigzag(i64::from(*self).cast_unsigned()));
    }

    fn get(r: &mut Reader<'_, '_>, field: &'static str) -> Result<Self, DecodeError> {
        let before = r.cursor.clone();
        let wide = unzigzag(r.cursor.varint(field)?).cast_signed();
        let narrow = Self::try_from(wide).ok();
        narrow.ok_or_else(|| before.error(field, Problem::BadNumber))
    }
}

impl Wire for f64 {
    fn put(&self, w: &mut Writer<'_>) {
        fixed::put(&self.to_bits(), w);
    }

    fn get(r: &mut Reader<'_, '_>, field: &'static str) -> Result<Self, DecodeError> {
        let before = r.cursor.clone();
        let number = Self::from_bits(fixed::get(r, field)?);
        // What is not a number would never equal its own image.
        let said = (!number.is_nan()).then_some(number);
        said.ok_or_else(|| before.error(field, Problem::BadNumber))
    }
}

impl Wire for ShardId {
    #[inline]
    fn put(&self, w: &mut Writer<'_>) {
        w.varint(self.0.into());
    }

    #[inline]
    fn get(r: &mut Reader<'_, '_>, field: &'static str) -> Result<Self, DecodeError> {
        r.cursor.narrow(field).map(Self)
    }
}

/// The difference from the instant before it in the record, where a task's id counts as the
/// instant of its making; the first is counted from 0.
impl Wire for Timestamp {
    #[inline]
    fn put(&self, w: &mut Writer<'_>) {
        w.instant(self.0);
    }

    #[inline]
    fn get(r: &mut Reader<'_, '_>, field: &'static str) -> Result<Self, DecodeError> {
        r.instant(field).map(Self)
    }
}

impl Wire for TaskId {
    #[inline]
    fn put(&self, w: &mut Writer<'_>) {
        w.out.extend_from_slice(&self.to_bytes());
        w.count_from(self.made_at().0);
    }

    #[inline]
    fn get(r: &mut Reader<'_, '_>, field: &'static str) -> Result<Self, DecodeError> {
        let before = r.cursor.clone();
        let id = Self::from_bytes(r.cursor.array(field)?);
        let id = id.ok_or_else(|| before.error(field, Problem::NotAnId))?;
        r.count_from(id.made_at().0);
        Ok(id)
    }
}

impl Wire for SessionId {
    #[inline]
    fn put(&self, w: &mut Writer<'_>) {
        w.out.extend_from_slice(&self.0.to_be_bytes());
    }

    #[inline]
    fn get(r: &mut Reader<'_, '_>, field: &'static str) -> Result<Self, DecodeError> {
        Ok(Self(u128::from_be_bytes(r.cursor.array(field)?)))
    }
}

impl Wire for Fence {
    #[inline]
    fn put(&self, w: &mut Writer<'_>) {
        fixed::put(&self.0, w);
    }

    #[inline]
    fn get(r: &mut Reader<'_, '_>, field: &'static str) -> Result<Self, DecodeError> {
        fixed::get(r, field).map(Self)
    }
}

impl Wire for Arc<str> {
    #[inline]
    fn put(&self, w: &mut Writer<'_>) {
        w.bytes(self.as_bytes());
    }

    #[inline]
    fn get(r: &mut Reader<'_, '_>, field: &'static str) -> Result<Self, DecodeError> {
        let text = text(r, field)?;
        Ok(r.cache.text(text))
    }
}

impl Wire for QueueName {
    #[inline]
    fn put(&self, w: &mut Writer<'_>) {
        w.bytes(self.as_str().as_bytes());
    }

    #[inline]
    fn get(r: &mut Reader<'_, '_>, field: &'static str) -> Result<Self, DecodeError> {
        let before = r.cursor.clone();
        let text = text(r, field)?;
        let name = r.cache.queue(text).ok();
        name.ok_or_else(|| before.error(field, Problem::NotAName))
    }
}

#[inline]
fn text<'a>(r: &mut Reader<'a, '_>, field: &'static str) -> Result<&'a str, DecodeError> {
    let before = r.cursor.clone();
    let text = str::from_utf8(r.cursor.bytes(field)?).ok();
    text.ok_or_else(|| before.error(field, Problem::NotUtf8))
}

/// Copied, so that the buffer that was read from need not stay.
impl Wire for Bytes {
    #[inline]
    fn put(&self, w: &mut Writer<'_>) {
        w.bytes(self);
    }

    #[inline]
    fn get(r: &mut Reader<'_, '_>, field: &'static str) -> Result<Self, DecodeError> {
        r.cursor.bytes(field).map(Self::copy_from_slice)
    }
}

impl<T: Wire> Wire for Box<T> {
    #[inline]
    fn put(&self, w: &mut Writer<'_>) {
        T::put(self, w);
    }

    #[inline]
    fn get(r: &mut Reader<'_, '_>, field: &'static str) -> Result<Self, DecodeError> {
        T::get(r, field).map(Self::new)
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, w: &mut Writer<'_>) {
        let (first, second) = self;
        first.put(w);
        second.put(w);
    }

    fn get(r: &mut Reader<'_, '_>, field: &'static str) -> Result<Self, DecodeError> {
        Ok((A::get(r, field)?, B::get(r, field)?))
    }
}

/// The number of items, then the items.
impl<T: Item> Wire for Vec<T> {
    fn put(&self, w: &mut Writer<'_>) {
        w.varint(self.len() as u64);
        self.iter().for_each(|item| item.put(w));
    }

    fn get(r: &mut Reader<'_, '_>, field: &'static str) -> Result<Self, DecodeError> {
        let count = r.cursor.count(T::BYTES_MIN, field)?;
        let mut items = Self::with_capacity(count);
        for _ in 0..count {
            items.push(T::get(r, field)?);
        }
        Ok(items)
    }
}

impl<T: Item> Wire for VecDeque<T> {
    fn put(&self, w: &mut Writer<'_>) {
        w.varint(self.len() as u64);
        self.iter().for_each(|item| item.put(w));
    }

    fn get(r: &mut Reader<'_, '_>, field: &'static str) -> Result<Self, DecodeError> {
        Vec::get(r, field).map(Self::from)
    }
}

impl Wire for Arc<[u64]> {
    fn put(&self, w: &mut Writer<'_>) {
        w.varint(self.len() as u64);
        self.iter().for_each(|item| item.put(w));
    }

    fn get(r: &mut Reader<'_, '_>, field: &'static str) -> Result<Self, DecodeError> {
        Vec::get(r, field).map(Self::from)
    }
}

impl Item for u64 {
    const BYTES_MIN: usize = 1;
}

impl Item for i32 {
    const BYTES_MIN: usize = 1;
}

impl Item for Arc<str> {
    const BYTES_MIN: usize = 1;
}

impl Item for QueueName {
    const BYTES_MIN: usize = 1;
}

impl Item for TaskId {
    const BYTES_MIN: usize = 16;
}

impl<A: Wire, B: Wire> Item for (A, B) {
    const BYTES_MIN: usize = 2;
}

impl<T: Wire> Part for Option<T> {
    #[inline]
    fn absent() -> Self {
        None
    }

    #[inline]
    fn is_present(&self) -> bool {
        self.is_some()
    }

    #[inline]
    fn put_part(&self, w: &mut Writer<'_>) {
        if let Some(value) = self {
            value.put(w);
        }
    }

    #[inline]
    fn get_part(r: &mut Reader<'_, '_>, field: &'static str) -> Result<Self, DecodeError> {
        T::get(r, field).map(Some)
    }
}

/// The bit is the value.
impl Part for bool {
    #[inline]
    fn absent() -> Self {
        false
    }

    #[inline]
    fn is_present(&self) -> bool {
        *self
    }

    #[inline]
    fn put_part(&self, _: &mut Writer<'_>) {}

    #[inline]
    fn get_part(_: &mut Reader<'_, '_>, _: &'static str) -> Result<Self, DecodeError> {
        Ok(true)
    }
}

/// Absent where it is the default: 0, empty, normal.
macro_rules! part_unless_default {
    ($type:ty $(where $item:ident)?) => {
        impl $(<$item: $crate::codec::shape::Item + PartialEq>)?
            $crate::codec::shape::Part for $type
        {
            #[inline]
            fn absent() -> Self {
                Self::default()
            }

            #[inline]
            fn is_present(&self) -> bool {
                *self != Self::default()
            }

            #[inline]
            fn put_part(&self, w: &mut $crate::codec::wire::Writer<'_>) {
                $crate::codec::shape::Wire::put(self, w);
            }

            #[inline]
            fn get_part(
                r: &mut $crate::codec::wire::Reader<'_, '_>,
                field: &'static str,
            ) -> Result<Self, $crate::codec::wire::DecodeError> {
                $crate::codec::shape::Wire::get(r, field)
            }
        }
    };
}

pub(super) use part_unless_default;

/// Absent where it is empty.
impl Part for Arc<str> {
    fn absent() -> Self {
        Self::default()
    }

    fn is_present(&self) -> bool {
        !self.is_empty()
    }

    fn put_part(&self, w: &mut Writer<'_>) {
        self.put(w);
    }

    fn get_part(r: &mut Reader<'_, '_>, field: &'static str) -> Result<Self, DecodeError> {
        Self::get(r, field)
    }
}

impl<T: Part> Part for Box<T> {
    fn absent() -> Self {
        Self::new(T::absent())
    }

    fn is_present(&self) -> bool {
        T::is_present(self)
    }

    fn put_part(&self, w: &mut Writer<'_>) {
        T::put_part(self, w);
    }

    fn get_part(r: &mut Reader<'_, '_>, field: &'static str) -> Result<Self, DecodeError> {
        T::get_part(r, field).map(Self::new)
    }
}

part_unless_default!(u16);
part_unless_default!(u32);
part_unless_default!(i32);
part_unless_default!(Fence);
part_unless_default!(Vec<T> where T);
part_unless_default!(VecDeque<T> where T);
part_unless_default!(u64);
