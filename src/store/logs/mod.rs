//! Kept output: one compressed file per attempt, which is either complete or absent.
//!
//! The store writes a file under a temporary name, syncs it, and renames it. The next start removes
//! files that a crash left unfinished. The module `packed` documents the file format; files of the
//! previous format (`lines`) are read, too.
//!
//! Output beyond the job's `log_limit` is dropped, and a last line on stderr reports the drop.

mod backup;
mod check;
mod files;
mod lines;
mod log_store;
mod packed;
mod reader;

pub(super) use backup::back_up;
pub(super) use check::check;
pub use files::Kept;
pub use log_store::{KeepError, LogStore};
