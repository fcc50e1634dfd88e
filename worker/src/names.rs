//! Names as the protocol has them.
//!
//! Owns the rule that kinds, queues, namespaces and workers share.

/// The longest name, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 128;

/// The rule, for the end of a sentence that names the culprit.
pub(crate) const NAME_RULE: &str = "is no name; use 1 to 128 letters, digits, '.', '_' and '-', \
                                    beginning with a letter or digit";

pub(crate) fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(allowed)
        && name.as_bytes()[0].is_ascii_alphanumeric()
}
