//! The possible contents of a disk after a power cut: synced data survives, and any part of the
//! rest may.
//!
//! Bytes surely survive if their file was synced, names if their folder was. Each later sector of
//! 512 bytes, and each later name, may or may not survive. Most file systems lose less.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{Rng, RngExt};

const SECTOR: usize = 512;
/// The values of <fcntl.h>, on every Linux that this is built for.
const O_CREAT: u64 = 0o100;
const O_TRUNC: u64 = 0o1000;

/// A recorded call to the C library.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) what: char,
    file: u64,
    number: usize,
    pub(crate) bytes: Vec<u8>,
}

/// Parses the recorder's log.
pub(crate) fn records(log: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    let mut rest = log;
    // The last record of a killed server may be cut short.
    while rest.len() >= 33 {
        let number = |n: usize| u64::from_le_bytes(rest[1 + 8 * n..9 + 8 * n].try_into().unwrap());
        let count = usize::try_from(number(3)).unwrap();
        let Some(bytes) = rest.get(33..33 + count) else { break };
        let (file, offset) = (number(0), usize::try_from(number(1)).unwrap());
        records.push(Record {
            what: char::from(rest[0]),
            file,
            number: offset,
            bytes: bytes.to_vec(),
        });
        rest = &rest[33 + count..];
    }
    records
}

/// Syncs that are ignored, to prove that the test would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ignored {
    Nothing,
    Files,
    Folders,
}

/// The part of unsynced data that survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Survives {
    Nothing,
    Everything,
    /// A random part, with torn writes. The shared memory, which is never synced, is full of noise.
    Something,
}

pub(crate) struct Disk {
    ignored: Ignored,
    files: Vec<File>,
    now: Names,
    synced: Names,
    /// Changes of names since the last sync of their folder.
    since: Vec<(String, Change)>,
    open: HashMap<u64, Open>,
}

type Names = BTreeMap<String, Node>;

#[derive(Clone, Copy, Debug)]
enum Node {
    Folder,
    File(usize),
}

enum Open {
    Folder(String),
    File(usize),
}

#[derive(Clone, Debug)]
enum Change {
    Make(String, Node),
    Remove(String),
    Rename(String, String),
}

#[derive(Default)]
struct File {
    now: Vec<u8>,
    synced: Vec<u8>,
    since: Vec<Write>,
}

#[derive(Clone)]
enum Write {
    Bytes(usize, Vec<u8>),
    Length(usize),
}

impl Disk {
    /// Creates a disk with the folder that contains `root`.
    pub(crate) fn new(root: &Path, ignored: Ignored) -> Self {
        let names =
            Names::from([(root.parent().unwrap().to_str().unwrap().to_owned(), Node::Folder)]);
        let (now, synced) = (names.clone(), names);
        Self { ignored, files: Vec::new(), now, synced, since: Vec::new(), open: HashMap::new() }
    }

    pub(crate) fn apply(&mut self, record: &Record) {
        let text = || String::from_utf8(record.bytes.clone()).unwrap();
        match record.what {
            'O' => self.opened(record.file, record.number as u64, text()),
            'W' => self.write(record.file, Write::Bytes(record.number, record.bytes.clone())),
            'T' => self.write(record.file, Write::Length(record.number)),
            'S' => self.sync(record.file),
            // The data folder is created before any promise, in a folder that is not recorded.
            'M' => self.change(Change::Make(text(), Node::Folder)),
            'U' => self.change(Change::Remove(text())),
            'R' => {
                let both = text();
                let (from, to) = both.split_once('\0').unwrap();
                self.change(Change::Rename(from.to_owned(), to.to_owned()));
            }
            'A' => {}
            other => panic!("a record of {other:?}"),
        }
    }

    fn opened(&mut self, number: u64, flags: u64, path: String) {
        let known = self.now.get(&path).copied();
        let file = match known {
            Some(Node::Folder) => return drop(self.open.insert(number, Open::Folder(path))),
            Some(Node::File(file)) => file,
            None => {
                assert!(flags & O_CREAT != 0, "{path} was opened, and nobody made it");
                self.files.push(File::default());
                self.change(Change::Make(path, Node::File(self.files.len() - 1)));
                self.files.len() - 1
            }
        };
        self.open.insert(number, Open::File(file));
        if flags & O_TRUNC != 0 {
            self.write(number, Write::Length(0));
        }
    }

    fn write(&mut self, number: u64, write: Write) {
        let Some(Open::File(file)) = self.open.get(&number) else {
            panic!("a write to what is no file")
        };
        let file = &mut self.files[*file];
        write.onto(&mut file.now);
        file.since.push(write);
    }

    fn sync(&mut self, number: u64) {
        match &self.open[&number] {
            Open::File(file) if self.ignored != Ignored::Files => {
                let file = &mut self.files[*file];
                file.since.drain(..).for_each(|write| write.onto(&mut file.synced));
            }
            Open::Folder(path) if self.ignored != Ignored::Folders => {
                let (synced, since) = self.since.drain(..).partition(|(folder, _)| folder == path);
                self.since = since;
                for (_, change) in synced {
                    change.onto(&mut self.synced);
                }
            }
            Open::File(_) | Open::Folder(_) => {}
        }
    }

    fn change(&mut self, change: Change) {
        let (Change::Make(path, _) | Change::Remove(path) | Change::Rename(_, path)) = &change;
        let folder = path.rsplit_once('/').unwrap().0.to_owned();
        change.onto(&mut self.now);
        self.since.push((folder, change));
    }

    /// Writes to `to` a possible content of `root` if the power is cut now.
    pub(crate) fn cut(&self, root: &Path, to: &Path, survives: Survives, rng: &mut StdRng) {
        let mut names = self.synced.clone();
        for (_, change) in &self.since {
            let kept = match survives {
                Survives::Nothing => false,
                Survives::Everything => true,
                Survives::Something => rng.random_bool(0.5),
            };
            if kept {
                change.onto(&mut names);
            }
        }
        // The creator of the data folder syncs it, in a parent that is not recorded.
        fs::create_dir_all(to).unwrap();
        let below = names
            .iter()
            .filter_map(|(path, node)| Some((Path::new(path).strip_prefix(root).ok()?, node)));
        for (path, node) in below {
            let to = to.join(path);
            match node {
                Node::Folder => fs::create_dir_all(&to).unwrap(),
                Node::File(_) if !to.parent().unwrap().is_dir() => {}
                Node::File(file) if path.to_string_lossy().ends_with("-shm") => {
                    let mut noise = self.files[*file].now.clone();
                    if survives == Survives::Something {
                        rng.fill_bytes(&mut noise);
                    }
                    fs::write(to, noise).unwrap();
                }
                Node::File(file) => fs::write(to, self.files[*file].left(survives, rng)).unwrap(),
            }
        }
    }
}

impl Change {
    /// Applies the change; skips one that is impossible by now.
    fn onto(&self, names: &mut Names) {
        match self {
            Self::Make(path, node) => drop(names.insert(path.clone(), *node)),
            Self::Remove(path) => drop(names.remove(path)),
            Self::Rename(from, to) => {
                if let Some(node) = names.remove(from) {
                    names.insert(to.clone(), node);
                }
            }
        }
    }
}

impl Write {
    fn onto(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Length(length) => bytes.resize(*length, 0),
            Self::Bytes(offset, written) => {
                let end = offset + written.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(written);
            }
        }
    }

    /// Splits the write into parts that reach the disk whole or not at all.
    fn sectors(&self) -> Vec<Self> {
        let Self::Bytes(offset, bytes) = self else { return vec![self.clone()] };
        let (mut parts, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            let end = bytes.len().min(at + SECTOR - (offset + at) % SECTOR);
            parts.push(Self::Bytes(offset + at, bytes[at..end].to_vec()));
            at = end;
        }
        parts
    }
}

impl File {
    fn left(&self, survives: Survives, rng: &mut StdRng) -> Vec<u8> {
        match survives {
            Survives::Nothing => self.synced.clone(),
            Survives::Everything => self.now.clone(),
            Survives::Something => {
                let mut left = self.synced.clone();
                let often = [0.1, 0.5, 0.9][rng.random_range(0..3)];
                for write in self.since.iter().flat_map(Write::sectors) {
                    if rng.random_bool(often) {
                        write.onto(&mut left);
                    }
                }
                left
            }
        }
    }
}
