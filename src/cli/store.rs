//! The commands that work on a data directory, with or without a server: `check` and `backup`.

use std::path::PathBuf;

use clap::Args;

use super::display::Display;
use super::exit;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::store;

/// The arguments that name a data directory.
#[derive(Args, Debug)]
pub(super) struct StoreArgs {
    /// Folder with the state [default: the server's]
    #[arg(long, env = "TIDETABLE_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Config file that may name the folder [default: the server's]
    #[arg(long, env = "TIDETABLE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The arguments of `tidetable backup`.
#[derive(Args, Debug)]
pub(super) struct BackupArgs {
    /// Folder to create; becomes a complete data directory
    #[arg(value_name = "DEST")]
    destination: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
}

impl StoreArgs {
    fn dir(&self) -> anyhow::Result<PathBuf> {
        Ok(Config::data_dir(self.data_dir.clone(), self.config.as_deref())?)
    }
}

pub(super) fn backup(args: &BackupArgs, display: &Display) -> anyhow::Result<u8> {
    let backup = store::backup::back_up(&args.store.dir()?, &args.destination, SystemClock.now())?;
    display.one(&backup, &args.destination.to_string_lossy(), || backup.to_string())?;
    Ok(0)
}

/// Checks the store and prints a report. Returns 1 if something is damaged, else 0.
pub(super) fn check(args: &StoreArgs, display: &Display) -> anyhow::Result<u8> {
    let dir = args.dir()?;
    let report = store::check::check(&dir)?;
    display.one(&report, &dir.to_string_lossy(), || report.to_string())?;
    Ok(if report.whole { 0 } else { exit::FAILED })
}
