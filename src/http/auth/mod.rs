//! Authentication: the guard before every handler.

pub mod guard;
