//! A minimal HTTP/1.1 client, so that the caller costs little. It keeps one connection open, and
//! only counts the bytes of a body.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::{PATIENCE, Server};

/// The size of one read, in bytes.
const BUFFER_BYTES: usize = 256 * 1024;

pub struct Client {
    reader: BufReader<TcpStream>,
    line: String,
}

/// The head of an answer. The body is still unread.
pub struct Head {
    pub status: u16,
    pub etag: String,
    length: Length,
}

enum Length {
    Known(usize),
    Chunked,
}

/// The arrival of a body: the times of its first and last byte after the request, and its size.
#[derive(Clone, Copy)]
pub struct Came {
    pub first_byte: Duration,
    pub total: Duration,
    pub bytes: usize,
}

impl Client {
    pub fn new(server: &Server) -> Self {
        Self::with_buffer(server, BUFFER_BYTES)
    }

    /// Creates a client with a small buffer, for use in large numbers.
    pub fn small(server: &Server) -> Self {
        Self::with_buffer(server, 4 * 1024)
    }

    fn with_buffer(server: &Server, bytes: usize) -> Self {
        let stream = TcpStream::connect(server.url().strip_prefix("http://").unwrap()).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE * 5)).unwrap();
        Self { reader: BufReader::with_capacity(bytes, stream), line: String::new() }
    }

    /// Sends a request, and reads the answer up to its body.
    pub fn send(&mut self, method: &str, path: &str, headers: &str) -> Head {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n{headers}\r\n"
        );
        self.reader.get_mut().write_all(request.as_bytes()).unwrap();
        let status =
            self.line().split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        let mut head = Head { status, etag: String::new(), length: Length::Known(0) };
        loop {
            let line = self.line().trim_end();
            if line.is_empty() {
                return head;
            }
            match line.split_once(": ") {
                Some(("etag", etag)) => etag.clone_into(&mut head.etag),
                Some(("content-length", length)) => {
                    head.length = Length::Known(length.parse().unwrap())
                }
                Some(("transfer-encoding", _)) => head.length = Length::Chunked,
                Some(_) | None => {}
            }
        }
    }

    /// Reads a whole answer, and keeps only its size and times.
    pub fn get(&mut self, path: &str, headers: &str) -> (Head, Came) {
        let begun = Instant::now();
        let head = self.send("GET", path, headers);
        let (mut first_byte, mut bytes) = (None, 0);
        while let Some(length) = self.piece(&head, bytes) {
            let mut left = length;
            while left > 0 {
                let available = self.reader.fill_buf().unwrap().len().min(left);
                assert!(available > 0, "the answer broke off after {bytes} bytes");
                first_byte.get_or_insert_with(|| begun.elapsed());
                self.reader.consume(available);
                left -= available;
            }
            bytes += length;
            self.end_piece(&head);
        }
        let total = begun.elapsed();
        (head, Came { first_byte: first_byte.unwrap_or(total), total, bytes })
    }

    /// Returns the next piece of a streamed body. `None` at its end.
    pub fn next(&mut self, head: &Head) -> Option<Vec<u8>> {
        let mut piece = vec![0; self.piece(head, 0)?];
        self.reader.read_exact(&mut piece).unwrap();
        self.end_piece(head);
        Some(piece)
    }

    fn piece(&mut self, head: &Head, read: usize) -> Option<usize> {
        let length = match head.length {
            Length::Known(length) => length - read,
            Length::Chunked => {
                let length =
                    usize::from_str_radix(self.line().trim_end(), 16).expect("a chunk's length");
                if length == 0 {
                    self.line();
                }
                length
            }
        };
        (length > 0).then_some(length)
    }

    fn end_piece(&mut self, head: &Head) {
        if matches!(head.length, Length::Chunked) {
            self.line();
        }
    }

    fn line(&mut self) -> &str {
        self.line.clear();
        self.reader.read_line(&mut self.line).unwrap();
        assert!(!self.line.is_empty(), "the server closed the connection");
        &self.line
    }
}
