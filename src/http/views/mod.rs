//! The JSON types of the API's answers. Field names are a contract. The client and the command line
//! read the same types.

mod event;
mod forecast;
mod job;
mod line;
mod objects;
mod pause;

pub use event::{EventView, GapView, StoryView};
pub use forecast::{ForecastEntryView, ForecastView, OverlapView, PileUpView};
pub use job::{AttemptView, JobView, OutputView};
pub(super) use line::JobLine;
pub(super) use objects::joined;
pub use objects::*;
pub use pause::PauseView;
