//! `docs/journal-records.md` shows the format that the code has.
