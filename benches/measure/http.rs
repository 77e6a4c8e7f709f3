//! A light HTTP client that sends one prepared request repeatedly over open connections.
//!
//! The client shares the processors with the server under load, so it does little. It runs on one
//! thread, uses the socket without a library, and reads only the status and the length of an
//! answer.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest time that an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A prepared request, and the status that its answer must have.
pub struct Request {
    bytes: Vec<u8>,
    status: u16,
}

impl Request {
    pub fn post(path: &str, body: &str, status: u16) -> Self {
        let head =
            "HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length";
        Self {
            bytes: format!("POST {path} {head}: {}\r\n\r\n{body}", body.len()).into_bytes(),
            status,
        }
    }
}

/// The result of a load: the time of each request in milliseconds, and the answers per second.
pub struct Answered {
    pub each_ms: Vec<f64>,
    pub a_second: f64,
}

/// Sends `count` requests over this many connections at once. A tenth as many are sent before it
/// and not counted.
pub fn load(url: &str, request: &Request, connections: usize, count: usize) -> Answered {
    let address = url.strip_prefix("http://").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let loading = async {
        let mut open = try_join_all((0..connections).map(|_| Connection::to(address))).await?;
        each(&mut open, request, count.div_ceil(10)).await?;
        let begun = Instant::now();
        let each_ms = each(&mut open, request, count).await?;
        let a_second = each_ms.len() as f64 / begun.elapsed().as_secs_f64();
        Ok::<_, io::Error>(Answered { each_ms, a_second })
    };
    // The caller is itself a task. A thread cannot enter a runtime within another one, so this uses
    // a new thread.
    std::thread::scope(|scope| scope.spawn(|| runtime.block_on(loading)).join().unwrap()).unwrap()
}

async fn each(open: &mut [Connection], request: &Request, count: usize) -> io::Result<Vec<f64>> {
    let left = AtomicUsize::new(count);
    let sending = open.iter_mut().map(async |connection: &mut Connection| {
        let mut took = Vec::new();
        while left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_ok()
        {
            let begun = Instant::now();
            tokio::time::timeout(PATIENCE, connection.call(request)).await??;
            took.push(begun.elapsed().as_secs_f64() * 1_000.0);
        }
        Ok::<_, io::Error>(took)
    });
    Ok(try_join_all(sending).await?.concat())
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn to(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(16 * 1_024) })
    }

    async fn call(&mut self, request: &Request) -> io::Result<()> {
        self.stream.write_all(&request.bytes).await?;
        self.buffer.clear();
        let length = loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(length) = length(&self.buffer) {
                break length;
            }
        };
        while self.buffer.len() < length {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let status = self
            .buffer
            .get(9..12)
            .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        if status == Some(request.status) {
            return Ok(());
        }
        Err(io::Error::other(String::from_utf8_lossy(&self.buffer).into_owned()))
    }
}

/// Returns the length of an answer with its head, or `None` while the head is incomplete.
fn length(answer: &[u8]) -> Option<usize> {
    const LENGTH: &[u8] = b"\r\ncontent-length: ";
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let at = answer[..head].windows(LENGTH.len()).position(|bytes| bytes == LENGTH)? + LENGTH.len();
    let digits = answer[at..head].iter().take_while(|byte| byte.is_ascii_digit());
    Some(head + 4 + digits.fold(0, |length, digit| 10 * length + usize::from(digit - b'0')))
}
