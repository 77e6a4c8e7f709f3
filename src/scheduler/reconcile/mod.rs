//! The comparison of the engine with the store: the connection, the sweep after each gap, and the
//! jobs of a restored backup.

pub(super) mod connection;
pub(super) mod restored;
pub(super) mod sweep;
