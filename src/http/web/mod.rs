//! The pages for a browser: the same addresses as the API, with HTML for callers that ask for it.
//!
//! A request whose `Accept` names `text/html` comes here (`negotiate`); every other request goes
//! to the API as before. A page is a view model in Rust and a template in `templates/`: the
//! template has no logic beyond loops and conditions. All pages work without scripts. An action is
//! a form (`actions`), whose answer redirects to the page that shows its effect.
//!
//! Times become words in `words`, addresses are made in `links`, and sentences about jobs and ticks
//! in `says`. Styles and the script are in `static/`; `assets` serves them from the binary.

mod actions;
pub mod ansi;
mod assets;
pub(super) mod chart;
mod definitions;
mod forecast;
mod form;
mod job;
mod job_form;
mod jobs;
pub(in crate::http) mod links;
mod log;
pub(in crate::http) mod negotiate;
mod pages;
mod rows;
mod says;
mod schedule;
mod schedule_form;
mod schedules;
mod search;
mod shell;
mod story;
mod tide;
mod words;

pub(in crate::http) use assets::{serve as asset, stylesheet};
pub use links::BasePath;
pub(in crate::http) use pages::pages;
