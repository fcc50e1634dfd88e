//! Each rule can be broken, and is then found to be.
