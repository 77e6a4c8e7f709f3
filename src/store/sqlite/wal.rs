//! Detects a write-ahead log that has lost acknowledged commits.
//!
//! SQLite reads the log up to the first corrupt frame and silently ignores the rest. After a power
//! cut, the ignored rest was never acknowledged. When a frame decays later, all commits after it
//! are lost as well. The two cases can be told apart: SQLite writes a frame only after all earlier
//! commits are synced. So behind a cut no commit is followed by another frame. Damage in the very
//! last commit stays undetected, because it looks like a cut.
//!
//! Only a log that no process has open is checked. The format is SQLite's own, and stable:
//! <https://sqlite.org/fileformat2.html>.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// The magic number; its last bit gives the byte order of the checksums.
const MAGIC: u32 = 0x377f_0682;

/// Returns the damage of the log at this path, if any. A missing log is fine.
pub(super) fn damage(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut reader = BufReader::with_capacity(256 * 1024, file);
    let mut header = [0; HEADER];
    if !fill(&mut reader, &mut header)? || header == [0; HEADER] {
        return Ok(None);
    }
    let Some(log) = Log::of(&header) else {
        return Ok(Some("the beginning of the write-ahead log cannot be read".to_owned()));
    };
    log.lost(&mut reader)
}

/// A running checksum: each frame's checksum includes the previous one.
type Sum = (u32, u32);

struct Log {
    big_endian: bool,
    page: usize,
    salts: [u8; 8],
    sum: Sum,
}

impl Log {
    fn of(header: &[u8; HEADER]) -> Option<Self> {
        let magic = word(header, 0);
        let big_endian = magic & 1 == 1;
        let page = usize::try_from(word(header, 8)).ok()?;
        let sum = (word(header, 24), word(header, 28));
        let whole = magic & !1 == MAGIC
            && page.is_power_of_two()
            && (512..=65_536).contains(&page)
            && add((0, 0), &header[..24], big_endian) == sum;
        let salts = header[16..24].try_into().ok()?;
        whole.then_some(Self { big_endian, page, salts, sum })
    }

    /// Returns a finding when commits follow the first corrupt frame.
    fn lost(&self, reader: &mut impl Read) -> io::Result<Option<String>> {
        let mut frame = vec![0; FRAME_HEADER + self.page];
        let (mut before, mut broken, mut commit) = (self.sum, None, false);
        for number in 1_u64.. {
            if !fill(reader, &mut frame)? {
                return Ok(None);
            }
            let of_this_log = frame[8..16] == self.salts;
            let sum = (word(&frame, 16), word(&frame, 20));
            let follows = of_this_log && self.sum_of(before, &frame) == sum;
            match broken {
                None if !follows => broken = Some(number),
                Some(first) if follows && commit => {
                    return Ok(Some(format!(
                        "frame {first} of the write-ahead log is not as it was written, and there are commits behind it"
                    )));
                }
                None | Some(_) => {}
            }
            (before, commit) = (sum, of_this_log && word(&frame, 4) != 0);
        }
        Ok(None)
    }

    fn sum_of(&self, before: Sum, frame: &[u8]) -> Sum {
        add(add(before, &frame[..8], self.big_endian), &frame[FRAME_HEADER..], self.big_endian)
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

/// Adds an even number of words to SQLite's checksum.
fn add((mut a, mut b): Sum, bytes: &[u8], big_endian: bool) -> Sum {
    let from_bytes = if big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
    let (words, _) = bytes.as_chunks::<4>();
    for pair in words.chunks_exact(2) {
        a = a.wrapping_add(from_bytes(pair[0])).wrapping_add(b);
        b = b.wrapping_add(from_bytes(pair[1])).wrapping_add(a);
    }
    (a, b)
}

/// Fills the buffer; returns false when the file ends before.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use rusqlite::Connection;

    use super::*;

    /// Writes five commits; returns a path for copies, the log as a killed process leaves it, and
    /// the length of a frame.
    fn log(dir: &Path) -> (PathBuf, Vec<u8>, usize) {
        let connection = Connection::open(dir.join("live")).expect("it opens");
        connection
            .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x)")
            .expect("it can be written");
        for _ in 0..4 {
            connection
                .execute("INSERT INTO t VALUES (randomblob(10000))", [])
                .expect("it can be written");
        }
        let bytes = fs::read(dir.join("live-wal")).expect("there is a log");
        (dir.join("wal"), bytes, FRAME_HEADER + 4_096)
    }

    /// Returns the finding for these bytes as a log.
    fn said(path: &Path, bytes: &[u8]) -> Option<String> {
        fs::write(path, bytes).expect("it can be written");
        damage(path).expect("it can be read")
    }

    #[test]
    fn whole_missing_empty_or_cut_log_is_fine() {
        let dir = tempfile::tempdir().expect("a folder");
        let (path, bytes, frame) = log(dir.path());
        assert_eq!(damage(&path).expect("it can be read"), None);
        assert!(bytes.len() > 10 * frame);
        for length in (0..bytes.len()).step_by(97).chain([bytes.len()]) {
            assert_eq!(said(&path, &bytes[..length]), None, "{length}");
        }
    }

    #[test]
    fn torn_last_commit_looks_like_a_cut() {
        let dir = tempfile::tempdir().expect("a folder");
        let (path, bytes, frame) = log(dir.path());
        let last = bytes.len() - 4 * frame;
        for at in (last..bytes.len()).step_by(512) {
            let mut torn = bytes.clone();
            let end = (at + 512).min(torn.len());
            torn[at..end].fill(0);
            assert_eq!(said(&path, &torn), None, "{at}");
        }
    }

    #[test]
    fn flipped_bit_before_the_last_commit_is_found() {
        let dir = tempfile::tempdir().expect("a folder");
        let (path, bytes, frame) = log(dir.path());
        let last_but_one = bytes.len() - 5 * frame;
        for at in (0..last_but_one).step_by(61) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            assert!(said(&path, &flipped).is_some(), "byte {at} of {}", bytes.len());
        }
    }

    #[test]
    fn frames_of_an_earlier_log_are_no_damage() {
        let dir = tempfile::tempdir().expect("a folder");
        let (path, mut bytes, frame) = log(dir.path());
        let mut earlier = bytes[HEADER..HEADER + 6 * frame].to_vec();
        (0..earlier.len()).step_by(frame).for_each(|at| earlier[at + 8] ^= 0xff);
        bytes.extend(earlier);
        assert_eq!(said(&path, &bytes), None);
    }
}
