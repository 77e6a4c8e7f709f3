//! Checks that kept output can be read to its end: zstd has a checksum of each file.

use std::fs;
use std::io;
use std::path::Path;

use super::files::UNFINISHED;
use super::reader::open;
use crate::store::report::Report;

/// Reads every kept log and adds damage to the report.
///
/// # Errors
/// Fails when the system refuses.
pub(in crate::store) fn check(dir: &Path, report: &mut Report) -> io::Result<()> {
    let mut unfinished = 0_u64;
    for shelf in entries(dir)? {
        if !shelf.is_dir() {
            continue;
        }
        for file in entries(&shelf)? {
            let name = file.to_string_lossy();
            if name.ends_with(UNFINISHED) {
                unfinished += 1;
            } else if name.ends_with(".log.zst") {
                report.logs += 1;
                if let Err(error) = read(&file) {
                    report.found(format!("kept output {name} cannot be read: {error}"));
                }
            }
        }
    }
    if unfinished > 0 && !report.in_use {
        report.notes.push(format!(
            "{unfinished} logs were not finished when the server ended; the next start writes them anew"
        ));
    }
    Ok(())
}

/// Lists a folder in order of the names; a missing folder is empty.
fn entries(dir: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    let listed = match fs::read_dir(dir) {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths =
        listed.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// Reads a log to its end. A file that disappeared meanwhile is fine.
fn read(file: &Path) -> io::Result<()> {
    let Some(mut reader) = open(file)? else { return Ok(()) };
    loop {
        match reader.next() {
            (_, Some(error)) => return Err(error),
            (lines, None) if lines.is_empty() => return Ok(()),
            (_, None) => {}
        }
    }
}
