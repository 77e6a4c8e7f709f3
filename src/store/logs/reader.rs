//! Reads a kept file, of the present format (`packed`) or the previous one (`lines`), some lines at
//! a time.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::files::{Kept, broken};
use super::lines::parse;
use super::packed::{HEAD, TAIL_BYTES, Unpacker, read_tail};
use crate::domain::output::Lines;

/// The bytes of one read, exceeded by at most one run.
const READ_BYTES: usize = 256 * 1024;

/// An open file of kept output.
pub(super) struct Reader {
    text: BufReader<zstd::Decoder<'static, BufReader<io::Take<File>>>>,
    format: Format,
}

enum Format {
    /// The format of container runtimes.
    Lines,
    /// Runs; the amount that they must sum up to, if the tail could be read; the number of lines
    /// read.
    Packed(Unpacker, Option<Kept>, u64),
}

/// Opens a file; returns `None` if there is none.
pub(super) fn open(path: &Path) -> io::Result<Option<Reader>> {
    let Some((mut file, length)) = open_file(path)? else { return Ok(None) };
    let (format, begin, end) = if is_packed(&mut file)? {
        let kept = tail_of(&mut file, length)?;
        let end = if kept.is_some() { length - TAIL_BYTES } else { length };
        (Format::Packed(Unpacker::default(), kept, 0), HEAD.len() as u64, end)
    } else {
        (Format::Lines, 0, length)
    };
    file.seek(SeekFrom::Start(begin))?;
    let text = BufReader::new(zstd::Decoder::new(file.take(end - begin))?);
    Ok(Some(Reader { text, format }))
}

/// Returns the amount that a file states, without reading the rest. The outer `None` says that
/// there is no file, the inner `None` that it states no amount.
pub(super) fn summary(path: &Path) -> io::Result<Option<Option<Kept>>> {
    let Some((mut file, length)) = open_file(path)? else { return Ok(None) };
    let kept = if is_packed(&mut file)? { tail_of(&mut file, length)? } else { None };
    Ok(Some(kept))
}

fn open_file(path: &Path) -> io::Result<Option<(File, u64)>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // Empty output has a frame around it, too, so an empty file is damaged: zstd would accept it.
    match file.metadata()?.len() {
        0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is empty")),
        length => Ok(Some((file, length))),
    }
}

fn is_packed(file: &mut File) -> io::Result<bool> {
    let mut head = Vec::new();
    file.take(HEAD.len() as u64).read_to_end(&mut head)?;
    Ok(head == HEAD)
}

fn tail_of(file: &mut File, length: u64) -> io::Result<Option<Kept>> {
    let Some(begin) = length.checked_sub(TAIL_BYTES).filter(|begin| *begin >= HEAD.len() as u64)
    else {
        return Ok(None);
    };
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(begin))?;
    file.take(TAIL_BYTES).read_to_end(&mut tail)?;
    Ok(read_tail(&tail))
}

impl Reader {
    /// Reads the next lines, and none at the end. Returns an error as well when the file ends too
    /// early or is damaged.
    pub(super) fn next(&mut self) -> (Lines, Option<io::Error>) {
        let mut lines = Lines::default();
        let read = match &mut self.format {
            Format::Lines => read_lines(&mut self.text, &mut lines),
            Format::Packed(unpacker, kept, seen) => {
                read_runs(&mut self.text, &mut lines, unpacker, *kept, seen)
            }
        };
        (lines, read.err())
    }
}

fn read_runs(
    text: &mut impl BufRead,
    lines: &mut Lines,
    unpacker: &mut Unpacker,
    kept: Option<Kept>,
    seen: &mut u64,
) -> io::Result<()> {
    while lines.weight() < READ_BYTES {
        let before = lines.len();
        let goes_on = unpacker.next(text, lines)?;
        *seen += (lines.len() - before) as u64;
        if !goes_on {
            // The last line may be ours: the report that the rest was dropped.
            let whole = kept.is_some_and(|kept| *seen == kept.lines + u64::from(kept.truncated));
            return if whole {
                Ok(())
            } else {
                Err(broken("it has not the lines that were written"))
            };
        }
    }
    Ok(())
}

fn read_lines(text: &mut impl BufRead, lines: &mut Lines) -> io::Result<()> {
    let mut line = Vec::new();
    while lines.weight() < READ_BYTES {
        line.clear();
        if text.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        lines.push(parse(&line).ok_or_else(|| broken("a line is not as it was written"))?);
    }
    Ok(())
}
