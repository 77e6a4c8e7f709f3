//! The JSON types of the API's answers. Field names are a contract. The client and the command line
//! read the same types.
//!
//! Statuses, reasons, times and ids are texts here, so an older client can read the answers of a
//! newer server. The schemas of the OpenAPI document name their forms and words.

mod event;
mod forecast;
mod job;
mod line;
mod objects;
mod pause;
mod summary;
mod tide;
mod usage;

pub use event::{EventView, GapView, StoryView};
pub use forecast::{ForecastEntryView, ForecastView, OverlapView, PileUpView};
pub use job::{AttemptView, JobView, OutputView};
pub(super) use line::JobLine;
pub(super) use objects::joined;
pub use objects::*;
pub use pause::PauseView;
pub use summary::{
    EngineView, LatenessView, PausedView, SlotsView, StoreView, SummaryJobsView, SummaryView,
};
pub use tide::{AtOnceView, BusiestView, LaneView, MarkView, TidePileUpView, TideView};
pub use usage::UsageView;
