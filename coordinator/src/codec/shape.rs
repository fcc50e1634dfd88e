//! Shapes: how a type is laid out in a record, said once for both directions.
//!
//! Owns the two traits, the forms of plain types, and the macros `shape!` (a struct) and
//! `variants!` (an enum with its stable numbers). A shape is its fields in the order listed, then,
//! where parts of it are optional, one bit set of those that are present, then these. Both macros
//! name every field, so that a new one breaks the build. The order and the numbers are the format:
//! see the module above for what may change.

use super::wire::{Cursor, DecodeError, Problem, Reader, Writer};

/// Has a form in a record.
pub(super) trait Wire: Sized {
    /// Appends it.
    fn put(&self, w: &mut Writer<'_>);

    /// Reads it; `field` names it in an error.
    fn get(r: &mut Reader<'_, '_>, field: &'static str) -> Result<Self, DecodeError>;
}

/// May be absent, and then takes nothing but a bit.
pub(super) trait Part: Sized {
    /// What it is where it is absent.
    fn absent() -> Self;

    /// Whether it is anything else.
    fn is_present(&self) -> bool;

    /// Appends it where it is present.
    fn put_part(&self, w: &mut Writer<'_>);

    /// Reads it where it is present.
    fn get_part(r: &mut Reader<'_, '_>, field: &'static str) -> Result<Self, DecodeError>;
}

/// May be an item of a list.
pub(super) trait Item: Wire {
    /// It takes at least so many bytes, against which the length of a list is checked.
    const BYTES_MIN: usize;
}

/// How a shape is laid out, for the docs and for tests: number, name, and fields in order.
#[cfg(test)]
pub(super) trait Layout {
    const NAME: &'static str;
    const ROWS: &'static [(u8, &'static str, &'static str)];
}

/// `shape!(Type { field, field via form; part, part } without { field: value })`: the fields, then
/// the bit set and the optional parts; what is left out is this value after decoding.
/// `stored { field } told by Told { field }`: the type has only the fields that are stored; what
/// else a record says is read off it by `Told::of`, and put into it by `Told::into`, which has none
/// where that contradicts itself.
macro_rules! shape {
    ($type:ident { $($field:ident),*; $($part:ident),+ }
    stored { $($stored:ident),+ } told by $told:ident { $($said:ident),+ }) => {
        impl $crate::codec::shape::Wire for $type {
            #[inline]
            fn put(&self, w: &mut $crate::codec::wire::Writer<'_>) {
                let Self { $($stored),+ } = self;
                let $told { $($said),+ } = &$told::of(self);
                $($crate::codec::shape::put!(w, $field);)*
                $crate::codec::shape::put_parts!(w, $($part)+);
            }

            #[inline]
            fn get(
                r: &mut $crate::codec::wire::Reader<'_, '_>,
                name: &'static str,
            ) -> Result<Self, $crate::codec::wire::DecodeError> {
                let before = r.cursor.clone();
                $(let $field = $crate::codec::shape::get!(
                    r,
                    concat!(stringify!($type), ".", stringify!($field))
                );)*
                $crate::codec::shape::get_parts!(r, stringify!($type), $($part)+);
                let stored = Self { $($stored),+ };
                $told { $($said),+ }.into(stored).ok_or_else(|| {
                    before.error(name, $crate::codec::wire::Problem::Contradicts)
                })
            }
        }

        $crate::codec::shape::layout!($type { $($field),*; $($part),+ });
    };
    ($type:ident {
        $($field:ident $(via $form:ident)?),*
        $(; $($part:ident),+)?
    } $(without { $($left:ident: $value:expr),+ })?) => {
        impl $crate::codec::shape::Wire for $type {
            #[inline]
            fn put(&self, w: &mut $crate::codec::wire::Writer<'_>) {
                let Self { $($field,)* $($($part,)+)? $($($left: _,)+)? } = self;
                $($crate::codec::shape::put!(w, $field $(via $form)?);)*
                $($crate::codec::shape::put_parts!(w, $($part)+);)?
            }

            #[inline]
            fn get(
                r: &mut $crate::codec::wire::Reader<'_, '_>,
                _: &'static str,
            ) -> Result<Self, $crate::codec::wire::DecodeError> {
                $(let $field = $crate::codec::shape::get!(
                    r,
                    concat!(stringify!($type), ".", stringify!($field))
                    $(, via $form)?
                );)*
                $($crate::codec::shape::get_parts!(r, stringify!($type), $($part)+);)?
                Ok(Self { $($field,)* $($($part,)+)? $($($left: $value,)+)? })
            }
        }

        $crate::codec::shape::layout!($type { $($field),* $(; $($part),+)? });
    };
}

macro_rules! layout {
    ($type:ident { $($field:ident),* $(; $($part:ident),+)? }) => {
        #[cfg(test)]
        impl $crate::codec::shape::Layout for $type {
            const NAME: &'static str = stringify!($type);
            const ROWS: &'static [(u8, &'static str, &'static str)] = &[(
                0,
                stringify!($type),
                concat!("", $(stringify!($field), " ",)* $("; ", $(stringify!($part), " ",)+)?),
            )];
        }
    };
}

/// `variants!(Type { 1 = Plain, 2 = Tuple(value), 3 = Struct { field; part } })`: the number of each
/// variant, in one byte, and its fields as `shape!` has them. `once { 4 = Struct { field } with
/// { new: value } }`: a number that is read and not written any more, and what it did not say.
macro_rules! variants {
    ($type:ident { $($number:tt = $variant:ident $(($inner:ident))? $({
        $($field:ident $(via $form:ident)?),*
        $(; $($part:ident),+)?
    })?),+ $(,)? } $(once { $($old:tt = $was:ident {
        $($kept:ident),*
    } with { $($new:ident: $value:expr),+ }),+ $(,)? })?) => {
        impl $crate::codec::shape::Variants for $type {
            #[inline]
            fn number(&self) -> u8 {
                match self {
                    $(Self::$variant { .. } => $number,)+
                }
            }

            #[inline]
            fn put_body(&self, w: &mut $crate::codec::wire::Writer<'_>) {
                let _: &mut $crate::codec::wire::Writer<'_> = w;
                match self {
                    $(Self::$variant $(($inner))? $({ $($field,)* $($($part,)+)? })? => {
                        $($crate::codec::shape::put!(w, $inner);)?
                        $(
                            $($crate::codec::shape::put!(w, $field $(via $form)?);)*
                            $($crate::codec::shape::put_parts!(w, $($part)+);)?
                        )?
                    })+
                }
            }

            #[inline]
            fn get_body(
                number: u8,
                r: &mut $crate::codec::wire::Reader<'_, '_>,
            ) -> Result<Option<Self>, $crate::codec::wire::DecodeError> {
                let _: &mut $crate::codec::wire::Reader<'_, '_> = r;
                match number {
                    $($number => {
                        $(let $inner = $crate::codec::shape::get!(
                            r,
                            concat!(stringify!($variant), ".", stringify!($inner))
                        );)?
                        $(
                            $(let $field = $crate::codec::shape::get!(
                                r,
                                concat!(stringify!($variant), ".", stringify!($field))
                                $(, via $form)?
                            );)*
                            $($crate::codec::shape::get_parts!(
                                r,
                                stringify!($variant),
                                $($part)+
                            );)?
                        )?
                        Ok(Some(Self::$variant $(($inner))? $({ $($field,)* $($($part,)+)? })?))
                    })+
                    $($($old => {
                        $(let $kept = $crate::codec::shape::get!(
                            r,
                            concat!(stringify!($was), ".", stringify!($kept))
                        );)*
                        Ok(Some(Self::$was { $($kept,)* $($new: $value),+ }))
                    })+)?
                    _ => Ok(None),
                }
            }
        }

        $crate::codec::shape::wire_of_variants!($type);

        #[cfg(test)]
        impl $crate::codec::shape::Layout for $type {
            const NAME: &'static str = stringify!($type);
            const ROWS: &'static [(u8, &'static str, &'static str)] = &[$((
                $number,
                stringify!($variant),
                concat!(
                    "",
                    $(stringify!($inner), " ",)?
                    $($(stringify!($field), " ",)* $("; ", $(stringify!($part), " ",)+)?)?
                ),
            ),)+ $($((
                $old,
                concat!(stringify!($was), " (once)"),
                concat!("", $(stringify!($kept), " ",)*),
            ),)+)?];
        }
    };
}

/// An enum: a number, then what the variant of this number is made of.
pub(super) trait Variants: Sized {
    /// The variant's number, which never changes.
    fn number(&self) -> u8;

    /// Appends what follows the number.
    fn put_body(&self, w: &mut Writer<'_>);

    /// Reads what follows this number; `None` where it is nobody's.
    fn get_body(number: u8, r: &mut Reader<'_, '_>) -> Result<Option<Self>, DecodeError>;
}

macro_rules! wire_of_variants {
    ($type:ident) => {
        impl $crate::codec::shape::Wire for $type {
            #[inline]
            fn put(&self, w: &mut $crate::codec::wire::Writer<'_>) {
                use $crate::codec::shape::Variants as _;
                w.out.push(self.number());
                self.put_body(w);
            }

            #[inline]
            fn get(
                r: &mut $crate::codec::wire::Reader<'_, '_>,
                field: &'static str,
            ) -> Result<Self, $crate::codec::wire::DecodeError> {
                use $crate::codec::shape::Variants as _;
                let before = r.cursor.clone();
                let number = r.cursor.byte(field)?;
                let found = Self::get_body(number, r)?;
                found.ok_or_else(|| $crate::codec::shape::unknown(&before, number, field))
            }
        }
    };
}

#[cold]
pub(super) fn unknown(at: &Cursor<'_>, number: u8, field: &'static str) -> DecodeError {
    at.error(field, Problem::Unknown(number.into()))
}

/// A part that is present, or is not; one that is present is not what an absent one is.
#[inline]
pub(super) fn part<T: Part>(
    r: &mut Reader<'_, '_>,
    present: bool,
    field: &'static str,
) -> Result<T, DecodeError> {
    if !present {
        return Ok(T::absent());
    }
    let before = r.cursor.clone();
    let part = T::get_part(r, field)?;
    if part.is_present() {
        Ok(part)
    } else {
        Err(before.error(field, Problem::Redundant))
    }
}

macro_rules! put {
    ($w:ident, $field:ident) => {
        $crate::codec::shape::Wire::put($field, $w)
    };
    ($w:ident, $field:ident via $form:ident) => {
        $form::put($field, $w)
    };
}

macro_rules! get {
    ($r:ident, $name:expr) => {
        $crate::codec::shape::Wire::get($r, $name)?
    };
    ($r:ident, $name:expr, via $form:ident) => {
        $form::get($r, $name)?
    };
}

macro_rules! put_parts {
    ($w:ident, $($part:ident)+) => {
        let mut bits = $crate::codec::wire::Bits::default();
        $(bits.push($crate::codec::shape::Part::is_present($part));)+
        bits.put($w);
        $(if $crate::codec::shape::Part::is_present($part) {
            $crate::codec::shape::Part::put_part($part, $w);
        })+
    };
}

macro_rules! get_parts {
    ($r:ident, $type:expr, $($part:ident)+) => {
        const PARTS: usize = [$(stringify!($part)),+].len();
        let mut bits = $crate::codec::wire::Bits::get(
            &mut $r.cursor,
            PARTS,
            concat!("the bit set of ", $type),
        )?;
        $(let $part = $crate::codec::shape::part(
            $r,
            bits.pop(),
            concat!($type, ".", stringify!($part)),
        )?;)+
    };
}

pub(super) use {get, get_parts, layout, put, put_parts, shape, variants, wire_of_variants};

/// A number without a small end: 8 bytes, big-endian.
pub(super) mod fixed {
    use super::{DecodeError, Reader, Writer};

    #[inline]
    pub(in crate::codec) fn put(number: &u64, w: &mut Writer<'_>) {
        w.out.extend_from_slice(&number.to_be_bytes());
    }

    #[inline]
    pub(in crate::codec) fn get(
        r: &mut Reader<'_, '_>,
        field: &'static str,
    ) -> Result<u64, DecodeError> {
        Ok(u64::from_be_bytes(r.cursor.array(field)?))
    }
}
