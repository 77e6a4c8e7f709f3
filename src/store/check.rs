//! Checks a data directory for `tidetable check`. Only reads, and works beside a running server.
//!
//! The database is checked as of one moment (`sqlite/check`), and every kept log is read to its end
//! (`logs/check`).

use std::path::Path;

use super::lock::is_in_use;
use super::report::Report;
use super::{error::OpenError, logs, sqlite};

/// Checks everything in this data directory and changes nothing. Damage is no error: it is in the
/// report.
///
/// # Errors
/// [`OpenError::NoStore`], [`OpenError::Newer`], and [`OpenError::NotReadable`] when the system
/// refuses; the state of the data is unknown then.
pub fn check(dir: &Path) -> Result<Report, OpenError> {
    if !dir.join(sqlite::FILE).is_file() {
        return Err(OpenError::NoStore { path: dir.display().to_string() });
    }
    let mut report = Report { data_dir: dir.display().to_string(), ..Report::default() };
    let unreadable = |error: std::io::Error| OpenError::not_readable(dir, &error);
    let damage = sqlite::log_damage(dir).map_err(unreadable)?;
    // Comes after the log: a server that started meanwhile was writing its log.
    report.in_use = is_in_use(dir)?;
    if let Some(damage) = damage.filter(|_| !report.in_use) {
        report.found(damage);
    }
    sqlite::check(dir, &mut report)?;
    logs::check(&dir.join("logs"), &mut report).map_err(unreadable)?;
    report.whole = report.found == 0;
    Ok(report)
}
