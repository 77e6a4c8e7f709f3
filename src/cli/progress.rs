//! The progress of a job on a terminal: a spinner with a sentence, and a bar while an image is
//! pulled.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::{job_sheet, text};
use crate::http::views::JobView;

/// The interval at which the spinner turns.
const TURN: Duration = Duration::from_millis(120);
const SPINNER: &str = "{spinner} {wide_msg}";
const BAR: &str = "{spinner} [{bar:24}] {wide_msg}";

/// The line of a terminal that shows what a job does.
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(TURN);
        Self(bar)
    }

    /// Shows the status of the job and what there is to say about it.
    pub(super) fn show(&self, job: &JobView) {
        let pulled = job.progress.as_deref().and_then(pulled);
        if let Some((done, all)) = pulled {
            self.0.set_length(all);
            self.0.set_position(done);
        }
        if let Ok(style) =
            ProgressStyle::with_template(if pulled.is_some() { BAR } else { SPINNER })
        {
            self.0.set_style(style);
        }
        let sentence = format!("{} {}", job.status, job_sheet::detail(job));
        self.0.set_message(text::clean(sentence.trim_end()).into_owned());
    }

    /// Removes the line.
    pub(super) fn end(self) {
        self.0.finish_and_clear();
    }
}

/// Returns the size that was pulled and the whole size, of a text such as
/// `1 of 3 layers, 12 of 40 MiB`. `None`: the whole size is not known.
fn pulled(progress: &str) -> Option<(u64, u64)> {
    let (_, sizes) = progress.rsplit_once(", ")?;
    let (done, all) = sizes.split_once(" of ")?;
    let all: u64 = all.split(' ').next()?.parse().ok()?;
    Some((done.parse().ok()?, all)).filter(|(_, all)| *all > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_a_pull_are_read() {
        assert_eq!(pulled("1 of 3 layers, 12 of 40 MiB"), Some((12, 40)));
        assert_eq!(pulled("0 of 0 layers, 0 of 0 MiB"), None);
        assert_eq!(pulled("waits for another pull"), None);
    }
}
