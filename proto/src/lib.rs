//! The protocol of Redrive, as Rust types.
//!
//! Owns nothing but generated code: the `.proto` files beside this crate are the source, and their
//! comments are the manual. Nothing here is written by hand, so there is nothing here to test.

/// The public API, package `redrive.v1`: messages, clients and server traits.
#[allow(clippy::all, missing_docs, reason = "generated code")]
pub mod v1 {
    tonic::include_proto!("redrive.v1");
}

/// The serialized `FileDescriptorSet` of every file above, imports and comments included.
///
/// Reflection serves it, and canonical proto3 JSON is printed with it.
pub const DESCRIPTOR: &[u8] = tonic::include_file_descriptor_set!("redrive_descriptor");
