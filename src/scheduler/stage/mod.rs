//! The stager: has the engine create containers for jobs that are due soon.

mod stager;
mod work;

pub(super) use stager::run;
